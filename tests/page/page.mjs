// Goes through the laptop's page as a person would, in a real browser.
// usage: node page.mjs http://127.0.0.1:PORT [SCREENSHOT_DIR]
import { strict as assert } from 'node:assert';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const [address, screenshots] = process.argv.slice(2);
if (!address) {
  console.error('usage: node page.mjs http://127.0.0.1:PORT [SCREENSHOT_DIR]');
  process.exit(2);
}
const { origin } = new URL(address);
if (screenshots) mkdirSync(screenshots, { recursive: true });
const WIDE = { width: 1280, height: 680 };
const NARROW = { width: 390, height: 844 };
const REQUEST = '/api/v1.0/2fa/request';
const VALIDATE = '/api/v1.0/2fa/validate';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ viewport: WIDE, colorScheme: 'light', locale: 'en-GB' });
await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin });
const page = await context.newPage();
page.setDefaultTimeout(10_000);

const complaints = [];
// Set while a check makes calls fail on purpose.
let failing = false;
// Chromium calls it an error when the API answers 400 or 404, which is what some of the calls are for.
const expected = m => [REQUEST, VALIDATE].some(path => m.location().url === origin + path)
  && / status of (400|404|422|429) /.test(m.text());
page.on('console', m => m.type() === 'error' && !failing && !expected(m) && complaints.push(m.text()));
page.on('pageerror', error => complaints.push(String(error)));
page.on('requestfailed', request => {
  // Reloading ends the stream of events, which is no failure of the page.
  if (!failing && !request.url().endsWith('/inbox/events')) complaints.push(`failed: ${request.url()}`);
});
page.on('response', response => {
  const { pathname } = new URL(response.url());
  if (response.status() >= 400 && ![REQUEST, VALIDATE].includes(pathname)) {
    complaints.push(`${response.status()}: ${response.url()}`);
  }
});
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
  ([s, e]) => document.querySelector(s)?.innerText.includes(e), [selector, expected]);
const focused = () => page.evaluate(() => document.activeElement.id);
const newest = () => text('#phone li:last-child .bubble');
const exchange = n => page.locator('#exchanges > li').nth(n).innerText();
async function shot(name) {
  if (!screenshots) return;
  // A capture right after a resize can miss what is not drawn yet.
  await page.evaluate(() => new Promise(done => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 250)));
  }));
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true, animations: 'disabled' });
}
// How far the page goes on below its footer.
const excess = () => page.evaluate(() => document.documentElement.scrollHeight
  - Math.max(innerHeight, scrollY + document.querySelector('footer').getBoundingClientRect().bottom));
const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

async function arrival(act) {
  const before = await page.locator('#phone .bubble').count();
  await act();
  await page.waitForFunction(n => document.querySelectorAll('#phone .bubble').length === n, before + 1);
}

/** Waits for what a call is answered to be shown. */
async function answered(act) {
  const answer = page.waitForResponse(origin + REQUEST);
  await act();
  await answer;
  await page.waitForSelector('#send:not([aria-disabled])');
}

/** Answers the next POST of a code instead of the server. */
async function instead(answer, run) {
  failing = true;
  await page.route(`**${REQUEST}`, answer, { times: 1 });
  await run();
  await page.unroute(`**${REQUEST}`);
  failing = false;
}

/** Whether all of it is within the window. */
const inView = selector => page.waitForFunction(s => {
  const box = document.querySelector(s).getBoundingClientRect();
  const screen = document.querySelector(s).closest('#phone')?.getBoundingClientRect();
  return box.top >= Math.max(0, screen?.top ?? 0) && box.bottom <= Math.min(innerHeight, screen?.bottom ?? innerHeight);
}, selector);

/** What axe-core finds wrong with the page as it is. */
async function accessible() {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.map(n => n.html).join(' ')}`), []);
  assert(passes.length > 20, 'axe-core has looked at next to nothing');
}

let code;
await check('the page opens with the templates of the client', async () => {
  const response = await page.goto(origin);
  assert.equal(response.status(), 200);
  assert(!(await response.text()).includes('__API_' + 'KEY__'), 'the API key was not filled in');
  await page.waitForSelector('#template option', { state: 'attached' });
  assert.deepEqual(await page.locator('#template option').allInnerTexts(), ['Login', 'Payment']);
  assert.match(await page.title(), /Twofa/);
  assert.equal(await page.getAttribute('html', 'lang'), 'en');
  assert.match(await text('header'), /No real SMS is sent/);
  await reads('#link', 'Connected');
  assert.equal(await page.evaluate(() => document.body.firstElementChild.tagName), 'NOSCRIPT');
  await accessible();
});
await check('validating before anything was sent is refused in words', async () => {
  await page.click('#validate');
  await reads('#answer [role=alert]', 'Ask for a code first');
  await page.reload();
  await page.waitForSelector('#template option', { state: 'attached' });
});
await check('a code is asked for with the keyboard alone and arrives on the phone', async () => {
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'to');
  assert.notEqual(await page.locator('#to').evaluate(e => getComputedStyle(e).outlineStyle), 'none');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('+44 7400 123456');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'template');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'send');
  await arrival(() => page.keyboard.press('Enter'));
  await reads('#asked', 'on its way');
  code = (await newest()).match(/\d{6}/)[0];
  assert.match(await text('#phone li:last-child'), /Twofa[^]*\d\d:\d\d[^]*to \+447400123456 · 1 part · GSM-7/);
});
await check('the new SMS and the code field are in view', async () => {
  await inView('#phone li:last-child');
  await inView('#code');
  await inView('#validate');
});
await check('the arrival is announced to a screen reader', async () => {
  assert.equal(await page.getAttribute('#news', 'aria-live'), 'polite');
  assert.match(await page.locator('#news').textContent(), new RegExp(`SMS from Twofa: .*${code}`));
});
await check('an empty code is not sent', async () => {
  await page.waitForFunction(() => document.activeElement.id === 'code');
  const before = await page.locator('#exchanges > li').count();
  await page.keyboard.type(' ');
  await page.keyboard.press('Enter');
  await reads('#code-fault', 'Type the code first.');
  assert.equal(await page.locator('#exchanges > li').count(), before);
  await page.keyboard.press('Backspace');
});
await check('the code field has the focus and takes a wrong code', async () => {
  await page.waitForFunction(() => document.activeElement.id === 'code');
  await page.keyboard.type(code === '000000' ? '111111' : '000000');
  await page.keyboard.press('Enter');
  await reads('#answer', 'Wrong code');
  await reads('#answer', 'not_matched');
});
await check('the right code, typed over the wrong one, succeeds', async () => {
  await page.keyboard.type(code);
  assert.equal(await page.inputValue('#code'), code);
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'validate');
  await page.keyboard.press('Space');
  await reads('#answer', 'The person is verified');
  assert.equal(await focused(), 'validate');
});
await shot('wide');
await check('the same code is not found again', async () => {
  await page.keyboard.press('Enter');
  await reads('#answer [role=alert]', 'No such code');
});
await check('the raw exchanges are shown, newest first', async () => {
  assert.match(await exchange(0), /POST \/api\/v1\.0\/2fa\/validate\s+404\s+\d+ ms/);
  assert.match(await exchange(0), /"status": "not_found"/);
  assert.match(await exchange(1), /POST \/api\/v1\.0\/2fa\/validate\s+200[^]*"verified": true/);
  assert.match(await exchange(2), /"status": "not_matched"/);
  const asked = await exchange(3);
  assert.match(asked, /POST \/api\/v1\.0\/2fa\/request\s+200/);
  assert.match(asked, /X-API-KEY: \S+\s+Content-Type: application\/json\s+\{\s+"to": "\+44 7400 123456",\s+"template_id": "[0-9a-f-]{36}"/);
  assert.match(asked, /X-Request-Id: \S+[^]*"status": "ACCEPTED"/);
  assert.match(await exchange(4), /GET \/api\/v1\.0\/2fa\/template\s+200/);
});
await check('an exchange is copied as curl', async () => {
  await page.locator('#exchanges > li').nth(3).getByRole('button', { name: /Copy as curl/ }).click();
  await reads('#exchanges > li:nth-child(4) .line', 'Copied');
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert(copied.startsWith(`curl -sS '${origin}${REQUEST}'`), copied);
  assert.match(copied, /-H 'X-API-KEY: \S+' [^]*-H 'Content-Type: application\/json' [^]*-d '\{"to":"\+44 7400 123456",/);
});
await check('nonsense is refused in words', async () => {
  await page.fill('#to', 'nonsense');
  await page.click('#send');
  await reads('#asked [role=alert]', 'no phone number');
  await reads('#asked', 'DESTINATION_ADDRESS_INVALID');
  assert.match(await exchange(0), /200[^]*REJECTED/);
  assert.equal(await page.getAttribute('#exchanges > li:first-child .pill', 'class'), 'pill', 'a REJECTED is green');
  await accessible();
});
await check('a template with a parameter asks for it', async () => {
  // Another number each time: one recipient gets one code in half a minute.
  await page.fill('#to', '+44 7400 123457');
  await page.selectOption('#template', { label: 'Payment' });
  await page.click('#send');
  await reads('#parameters', 'is required by the template');
  const amount = page.getByRole('textbox', { name: 'amount' });
  assert.equal(await amount.getAttribute('aria-invalid'), 'true');
  assert.equal(await focused(), 'parameter-amount');
  await shot('wide-fault');
  await amount.fill('<b>12.50</b> ₴');
  await arrival(() => page.keyboard.press('Enter'));
  await reads('#asked', 'on its way');
  assert.match(await newest(), /payment of <b>12\.50<\/b> ₴\./);
  assert.match(await text('#phone li:last-child'), /\d parts? · UCS-2/);
  assert.equal(await amount.getAttribute('aria-invalid'), null);
});
await check('field errors stand at their fields, others in the answer', async () => {
  const errors = [{ property: 'to', error: 'must be a string' }, { property: 'template_id', error: 'is odd' },
    { property: 'parameters', error: 'must be shorter' }, { property: '', error: 'must be a JSON object' }];
  await instead(route => route.fulfill({ status: 400, json: { errors } }), async () => {
    await page.click('#send');
    await reads('#asked [role=alert]', 'The body must be a JSON object.');
  });
  assert.equal(await text('#to-fault'), 'This must be a string.');
  assert.equal(await text('[id="template_id-fault"]'), 'This is odd.');
  assert.equal(await text('#parameters-fault'), 'This must be shorter.');
  assert.equal(await focused(), 'to');
});
await check('too many requests tell when to try again', async () => {
  const answer = { status: 429, headers: { 'Retry-After': '30' }, json: { status: 'REJECTED', error_message: 'TOO_MANY_REQUESTS' } };
  await instead(route => route.fulfill(answer), async () => {
    await page.click('#send');
    await reads('#asked [role=alert]', 'Too many requests.');
    await reads('#asked [role=timer]', 'Next try in 30 seconds.');
    await reads('#asked [role=timer]', 'Next try in 29 seconds.');
  });
  assert.equal(await text('#to-fault'), '');
  assert.match(await exchange(0), /429[^]*Retry-After: 30/);
});
await check('a server that does not answer is told in words', async () => {
  await instead(route => route.abort(), async () => {
    await page.click('#send');
    await reads('#asked [role=alert]', 'Is the server still running?');
  });
  assert.match(await exchange(0), /no answer/);
});
await check('an Idempotency-Key gets the first answer again, and no second SMS', async () => {
  await page.click('summary:has-text("API key")');
  await page.fill('#idempotency', 'a key');
  await page.fill('#to', '+44 7400 123459');
  await page.selectOption('#template', { label: 'Login' });
  await page.click('#send');
  await reads('[id="Idempotency-Key-fault"]', 'This must be 1 to 255 visible ASCII characters.');
  await page.fill('#idempotency', 'a-key');
  await arrival(() => answered(() => page.click('#send')));
  const first = await text('#code-hint');
  const messages = await page.locator('#phone .bubble').count();
  await answered(() => page.click('#send'));
  assert.match(await exchange(0), /Idempotency-Key: a-key[^]*ACCEPTED/);
  assert.equal(await text('#code-hint'), first);
  assert.equal(await page.locator('#phone .bubble').count(), messages);
  await page.fill('#to', '+44 7400 123450');
  await page.click('#send');
  await reads('[id="Idempotency-Key-fault"]', 'This was used for another body before.');
  await page.fill('#idempotency', '');
  await accessible();
});
await check("a client's own key is used, and its templates are loaded", async () => {
  failing = true;
  const demo = await page.inputValue('#key');
  await page.fill('#key', '2fa_shop_0000000000000000000000000000000000000000000');
  await page.press('#key', 'Tab');
  await reads('#asked [role=alert]', 'The API key is not valid.');
  assert.equal(await page.locator('#template option').count(), 0);
  assert.match(await exchange(0), /GET [^]*401[^]*X-API-KEY: 2fa_shop_/);
  await page.fill('#key', demo);
  await page.click('#reload');
  await page.waitForFunction(() => document.querySelectorAll('#template option').length === 2);
  await page.waitForTimeout(100);
  complaints.splice(0, complaints.length, ...complaints.filter(c => !c.startsWith('401: ')));
  failing = false;
});
await check('every control has an accessible name', async () => {
  for (const control of await page.locator('input, select, button, summary, [tabindex]').all()) {
    const [first] = (await control.ariaSnapshot()).split('\n');
    const named = await control.evaluate(e => {
      const by = e.getAttribute('aria-labelledby');
      return Boolean(e.labels?.[0]?.innerText.trim() || (by && document.getElementById(by)?.innerText.trim())
        || (!['INPUT', 'SELECT'].includes(e.tagName) && e.tabIndex >= 0 && e.innerText.trim()));
    });
    assert(named, `no name: ${first}`);
  }
  for (const name of ['Phone number', 'Template', 'Code']) await page.getByLabel(name, { exact: true }).waitFor();
  for (const role of ['banner', 'main', 'contentinfo']) await page.getByRole(role).waitFor();
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
});
await check('a page opened later shows the messages so far, and announces none', async () => {
  const shown = await page.locator('#phone .bubble').allInnerTexts();
  await page.reload();
  await page.waitForFunction(n => document.querySelectorAll('#phone .bubble').length === n, shown.length);
  assert.deepEqual(await page.locator('#phone .bubble').allInnerTexts(), shown);
  assert.equal(await page.locator('#news').textContent(), '');
});
await check('the flow works on a narrow screen too', async () => {
  await page.setViewportSize(NARROW);
  await page.waitForSelector('#template option', { state: 'attached' });
  await page.fill('#to', '+44 7400 123458');
  await arrival(() => page.click('#send'));
  await inView('#phone li:last-child');
  await inView('#code');
  await inView('#validate');
  await accessible();
  await page.fill('#code', (await newest()).match(/\d{6}/)[0]);
  await page.press('#code', 'Enter');
  await reads('#answer', 'The person is verified');
});
await check('nothing is cut off at 390 and at 1280 pixels, light and dark', async () => {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const [name, size] of [['narrow', NARROW], ['wide', WIDE]]) {
      await page.setViewportSize(size);
      assert.equal(await overflow() <= 0, true, `${name}, ${colorScheme}: ${await overflow()} pixels too wide`);
      assert.equal(await excess() <= 1, true, `${name}, ${colorScheme}: ${await excess()} empty pixels below`);
      if (name === 'narrow' || colorScheme === 'dark') await shot(colorScheme === 'dark' ? `${name}-dark` : name);
    }
  }
  await page.setViewportSize({ width: 320, height: 640 });
  assert.equal(await overflow() <= 0, true, 'too wide at 320 pixels');
});
await check('the links of the footer lead somewhere', async () => {
  const links = await page.locator('footer a').evaluateAll(all => all.map(a => a.getAttribute('href')));
  assert.deepEqual(links, ['/openapi.json', '/inbox']);
});
await check('nothing failed, and nothing was asked of another origin', async () => {
  assert.deepEqual(complaints, []);
});
await browser.close();
console.log(`${passed} passed, 0 failed`);
