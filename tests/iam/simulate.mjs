// Asks an IAM simulator that nobody here wrote whether the roles of the stack may do what the functions
// did, and nothing that the others did. Reads what tests/stack/powers.py writes: a list of
// { role, statements, action, resource, context, allowed }.

import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const ACCOUNT = '123456789012'
const asked = JSON.parse(readFileSync(process.argv[2], 'utf8'))
// A key trusts the account, and leaves the rest to its policies: docs/deploy.md has the whole policy.
const KEY_POLICY = {
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: 'kms:*', Resource: '*' },
  ],
}
const wrong = []
let allowed = 0
for (const { role, statements, action, resource, context, allowed: expected } of asked) {
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:sts::${ACCOUNT}:assumed-role/${role}/session`,
        action,
        resource: { resource, accountId: ACCOUNT },
        contextVariables: context,
      },
      identityPolicies: [{ name: role, policy: { Version: '2012-10-17', Statement: statements } }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: action.startsWith('kms:') ? KEY_POLICY : undefined,
    },
    {},
  )
  const said = answer.resultType === 'error' ? JSON.stringify(answer.errors) : answer.overallResult
  if (said !== (expected ? 'Allowed' : 'ImplicitlyDenied') && !(said === 'ExplicitlyDenied' && !expected)) {
    wrong.push(`${role}: ${action} on ${resource}: ${said}, not ${expected ? 'allowed' : 'denied'}`)
  }
  allowed += expected
}
console.log(wrong.join('\n') || `${allowed} allowed and ${asked.length - allowed} denied, as they are to be`)
process.exit(wrong.length || !allowed || allowed === asked.length ? 1 : 0)
