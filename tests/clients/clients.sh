#!/usr/bin/env bash
# Generates a client of openapi.json in three languages and runs one flow with each; then the samples of
# docs/integrate.md.
#
#   clients.sh http://127.0.0.1:PORT
set -euo pipefail
cd "$(dirname "$0")"
api=$1/api
made=generated
rm -rf "$made"
mkdir "$made"

quietly() { "$@" >"$made/log" 2>&1 || { cat "$made/log" >&2; exit 1; }; }

export PATH="$PWD/../../.tools/clients/bin:$PWD/node_modules/.bin:$PATH"
quietly openapi-generator-cli generate --generator-name rust --input-spec ../../openapi.json \
  --output "$made/rust" --additional-properties=packageName=twofa-client,reqwestDefaultFeatures=
quietly openapi-typescript ../../openapi.json --output "$made/twofa.d.ts"
quietly openapi-python-client generate --path ../../openapi.json --meta none --output-path "$made/twofa_client"

echo '--- TypeScript: openapi-typescript'
tsc --project .
node "$made/flow.js" "$api"

echo '--- Python: openapi-python-client'
PYTHONPATH="$made" python3 flow.py "$api"

python3 samples.py "$1"

echo '--- Rust: openapi-generator'
cargo run --quiet --locked --bin flow --target-dir ../../target/clients -- "$api"
