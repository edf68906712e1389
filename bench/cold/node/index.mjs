// The endpoint `validate` as one would write it for Node.js: the same write, the same digests.
//
// It does less than ours: its peppers and its client come from the environment, not from Secrets
// Manager and the directory table, and it does not count a recipient's failures.

import { createHmac, randomBytes } from 'node:crypto';
import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';

const dynamodb = new DynamoDBClient({});
const { CLIENT, VERIFICATIONS_TABLE } = process.env;
const [current, next, previous] = process.env.PEPPERS.split(',').map((pepper) =>
  Buffer.from(pepper, 'base64url'),
);

export async function handler(event) {
  let code, id;
  try {
    const body = event.isBase64Encoded ? Buffer.from(event.body, 'base64') : event.body;
    ({ code, request_id: id } = JSON.parse(body));
    if (typeof code !== 'string' || typeof id !== 'string') throw new TypeError();
  } catch {
    return answer(400, { errors: [{ property: 'body', error: 'is not a question' }] });
  }
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) {
    return answer(404, { verified: false, status: 'not_found' });
  }
  const attempt = `try#${randomBytes(16).toString('base64url')}`;
  const item = await guess(id, code.replace(/[\s-]/g, ''), attempt);
  if (!item?.[attempt]) {
    return answer(404, { verified: false, status: 'not_found' });
  }
  const verified = item.state.S === 'verified' && item.attempts.N === item[attempt].N;
  return answer(200, { verified, status: verified ? 'success' : 'not_matched' });
}

async function guess(id, code, attempt) {
  try {
    const { Attributes } = await dynamodb.send(
      new UpdateItemCommand({
        TableName: VERIFICATIONS_TABLE,
        Key: { id: { S: id } },
        UpdateExpression:
          'SET attempts = attempts + :one, #try = attempts + :one, #state = ' +
          'if_not_exists(#current, if_not_exists(#next, if_not_exists(#previous, #state)))',
        ConditionExpression:
          '#client = :client AND expires_at > :now AND attempts < max_attempts ' +
          'AND #state IN (:stored, :sent) AND attribute_not_exists(#try)',
        ExpressionAttributeNames: {
          '#client': 'client',
          '#current': codeAttribute(current, id, code),
          '#next': codeAttribute(next, id, code),
          '#previous': codeAttribute(previous, id, code),
          '#state': 'state',
          '#try': attempt,
        },
        ExpressionAttributeValues: {
          ':client': { S: CLIENT },
          ':now': { N: String(Date.now()) },
          ':one': { N: '1' },
          ':sent': { S: 'sent' },
          ':stored': { S: 'stored' },
        },
        ReturnValues: 'ALL_NEW',
        ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
      }),
    );
    return Attributes;
  } catch (error) {
    if (error.name === 'ConditionalCheckFailedException') return error.Item;
    throw error;
  }
}

// HMAC-SHA-256 of the client, the request and the code, each after its length.
function codeAttribute(pepper, id, code) {
  const hmac = createHmac('sha256', pepper);
  const request = Buffer.from(id.replaceAll('-', ''), 'hex');
  for (const field of [Buffer.from(CLIENT), request, Buffer.from(code)]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(field.length));
    hmac.update(length).update(field);
  }
  return `code#${hmac.digest('base64url')}`;
}

function answer(statusCode, body) {
  return {
    statusCode,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    body: JSON.stringify(body),
  };
}
