// What a web page of another origin gets of the laptop's listeners, in a real browser: nothing.
// usage: node foreign.mjs API DYNAMODB SNS
import { strict as assert } from 'node:assert';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const listeners = process.argv.slice(2).map(address => new URL(address));
const [api, dynamodb, sns] = listeners;
if (!sns) {
  console.error('usage: node foreign.mjs API DYNAMODB SNS');
  process.exit(2);
}
const foreign = createServer((_, response) => response.end('a page of another origin'));
await new Promise(listens => foreign.listen(0, '127.0.0.1', listens));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP rebound.example 127.0.0.1'],
});
const page = await browser.newPage();
const scan = {
  method: 'POST',
  headers: {
    'Content-Type': 'application/x-amz-json-1.0',
    'X-Amz-Target': 'DynamoDB_20120810.Scan',
    'X-Amz-Date': '20270101T000000Z',
    Authorization: 'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=c, Signature=d',
  },
  body: '{"TableName":"DirectoryTable"}',
};
// The status and the text that a page reads, or the error that its browser throws.
const read = (url, options = {}) => page.evaluate(async ([u, o]) => {
  try {
    const answer = await fetch(u, o);
    return [answer.status, await answer.text()];
  } catch (error) {
    return String(error);
  }
}, [String(url), options]);
const refused = 'TypeError: Failed to fetch';

// What a program of this machine reads shows that there is something to read.
assert.equal((await fetch(dynamodb, scan)).status, 200);

await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
for (const listener of listeners) {
  assert.equal(await read(listener), refused, `read: ${listener}`);
  assert.equal(await read(listener, scan), refused, `called: ${listener}`);
}
assert.equal(await read(new URL('/inbox', api)), refused);
// A form needs no leave to be sent: the listener itself must refuse it.
const form = new URLSearchParams({ Action: 'Publish', PhoneNumber: '+447400123456', Message: 'from afar' });
await page.evaluate(([u, body]) => fetch(u, {
  method: 'POST', mode: 'no-cors', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body,
}),
  [String(sns), String(form)]).catch(() => {});
const inbox = await (await fetch(new URL('/inbox', api))).text();
assert(!inbox.includes('from afar'), 'a foreign page has sent an SMS');

for (const { port } of listeners) {
  const answer = await page.goto(`http://rebound.example:${port}/`);
  assert.equal(answer.status(), 403, `rebound: ${port}`);
  assert.equal((await read(`http://rebound.example:${port}/`, scan))[0], 403, `rebound: ${port}`);
}
await browser.close();
foreign.close();
console.log('passed');
