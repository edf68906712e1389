// A code is sent, read from the inbox and checked, with the client of openapi-typescript.
import { strict as assert } from 'node:assert';
import createClient from 'openapi-fetch';
import type { paths } from './generated/twofa.js';

const [api] = process.argv.slice(2);
assert(api);
const twofa = createClient<paths>({
  baseUrl: api,
  headers: { 'X-API-KEY': '2fa_demo_LaptopOnlyLaptopOnlyLaptopOnlyLaptopOnly123' },
});
const to = '+447400000101';

const templates = await twofa.GET('/v1.0/2fa/template');
const login = templates.data?.data.find(template => template.name === 'Login');
assert(login);

const sent = await twofa.POST('/v1.0/2fa/request', {
  params: { header: { 'Idempotency-Key': 'typescript' } },
  body: { to, template_id: login.id },
});
assert.equal(sent.data?.status, 'ACCEPTED');
const request_id = sent.data.request_id;

const inbox = await fetch(`${new URL(api).origin}/inbox?to=${encodeURIComponent(to)}`);
const [message] = await inbox.json() as { text: string }[];
const code = message?.text.match(/\d{6}/)?.[0];
assert(code);

const check = (code: string) => twofa.POST('/v1.0/2fa/validate', { body: { code, request_id } });
const wrong = await check(code === '000000' ? '111111' : '000000');
assert.deepEqual(wrong.data, { verified: false, status: 'not_matched' });
const right = await check(code);
assert.deepEqual(right.data, { verified: true, status: 'success' });
const again = await check(code);
assert.equal(again.response.status, 404);
assert.deepEqual(again.error, { verified: false, status: 'not_found' });

const bad = await twofa.POST('/v1.0/2fa/request', { body: { to: '1', template_id: login.id } });
assert.equal(bad.data?.error_message, 'DESTINATION_ADDRESS_INVALID');
console.log('passed');
