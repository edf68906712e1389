// Goes through the laptop's page as a person would, in a real browser.
// usage: node page.mjs http://127.0.0.1:PORT [SCREENSHOT_DIR]
import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [origin, screenshots] = process.argv.slice(2);
assert(origin, 'usage: node page.mjs http://127.0.0.1:PORT [SCREENSHOT_DIR]');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.setDefaultTimeout(10_000);
const complaints = [];
// Chromium calls it an error when the API answers 400 or 404, which is what some of the calls are for.
const refused = m => /\/v1\.0\/2fa\/(request|validate)$/.test(m.location().url);
page.on('console', m => m.type() === 'error' && !refused(m) && complaints.push(m.text()));
page.on('pageerror', error => complaints.push(String(error)));
page.on('requestfailed', request => complaints.push(`failed: ${request.url()}`));
page.on('request', request => {
  const { protocol, origin: asked } = new URL(request.url());
  if (protocol !== 'data:' && asked !== origin) complaints.push(`elsewhere: ${request.url()}`);
});

let passed = 0;
async function check(sentence, run) {
  try {
    await run();
  } catch (error) {
    console.error(`FAILED  ${sentence}\n${error.stack}`);
    console.log(`${passed} passed, 1 failed`);
    await browser.close();
    process.exit(1);
  }
  passed += 1;
  console.log(`passed  ${sentence}`);
}
const text = selector => page.locator(selector).innerText();
const reads = (selector, expected) => page.waitForFunction(
  ([s, e]) => document.querySelector(s).innerText.includes(e), [selector, expected]);
const focused = () => page.evaluate(() => document.activeElement.id);
const newest = () => text('#phone li:first-child .bubble');
const shot = async name => screenshots && page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);

async function arrival(act) {
  const before = await page.locator('#phone .bubble').count();
  await act();
  await page.waitForFunction(n => document.querySelectorAll('#phone .bubble').length === n, before + 1);
}

let code;
await check('the page opens with the templates of the client', async () => {
  await page.goto(origin);
  await page.waitForSelector('#template option', { state: 'attached' });
  assert.deepEqual(await page.locator('#template option').allInnerTexts(), ['Login', 'Payment']);
});
await check('a code is asked for with the keyboard alone and arrives on the phone', async () => {
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'to');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('+44 7400 123456');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'template');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'send');
  await arrival(() => page.keyboard.press('Enter'));
  await reads('#asked', 'on its way');
  code = (await newest()).match(/\d{6}/)[0];
  assert.match(await text('#phone li:first-child'), /Twofa[^]*to \+447400123456 · 1 part · GSM-7/);
});
await check('the code field has the focus and takes a wrong code', async () => {
  await page.waitForFunction(() => document.activeElement.id === 'code');
  await page.keyboard.type(code === '000000' ? '111111' : '000000');
  await page.keyboard.press('Enter');
  await reads('#answer', 'Wrong code');
});
await check('the right code succeeds', async () => {
  await page.fill('#code', code);
  await page.press('#code', 'Enter');
  await reads('#answer', 'verified');
});
await shot('wide');
await check('the same code is not found again', async () => {
  await page.click('#validate');
  await reads('#answer', 'No such code');
});
await check('the raw exchanges are shown, newest first', async () => {
  const [first, second] = await page.locator('#exchanges li').allInnerTexts();
  assert.match(first, /POST \/api\/v1\.0\/2fa\/validate\s+404/);
  assert.match(first, /"status": "not_found"/);
  assert.match(second, /POST \/api\/v1\.0\/2fa\/validate\s+200[^]*"verified": true/);
});
await check('nonsense is refused in words', async () => {
  await page.fill('#to', 'nonsense');
  await page.click('#send');
  await reads('#asked', 'no phone number');
  await reads('#asked', 'DESTINATION_ADDRESS_INVALID');
});
await check('a template with a parameter asks for it', async () => {
  await page.fill('#to', '+44 7400 123456');
  await page.selectOption('#template', { label: 'Payment' });
  await page.click('#send');
  await reads('#parameters', 'is required by the template');
  assert.equal(await page.getByLabel('amount').getAttribute('aria-invalid'), 'true');
  await page.getByLabel('amount').fill('<b>12.50</b> €');
  await arrival(() => page.click('#send'));
  assert.match(await newest(), /payment of <b>12\.50<\/b> €\./);
});
await check('every control has a name', async () => {
  const nameless = await page.evaluate(() => [...document.querySelectorAll('input, select, button')]
    .filter(control => !(control.labels?.length || control.innerText)).map(control => control.id));
  assert.deepEqual(nameless, []);
});
await check('it fits a wide screen and a phone, light and dark', async () => {
  assert(await fits());
  await page.setViewportSize({ width: 390, height: 844 });
  assert(await fits());
  await shot('narrow');
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot('narrow-dark');
  await page.setViewportSize({ width: 1280, height: 900 });
  await shot('wide-dark');
});
await check('a page opened later shows the messages so far', async () => {
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll('#phone .bubble').length >= 2);
});
await check('nothing failed, and nothing was asked of another origin', async () => {
  // Reloading ends the stream of events, which is no failure of the page.
  assert.deepEqual(complaints.filter(c => !c.endsWith('/inbox/events')), []);
});
await browser.close();
console.log(`${passed} passed, 0 failed`);
