// Deploys the inputs that come on stdin with the vendor's engine, and prints, as JSON, every request that it would send.
// Nothing leaves the machine: the one function that sends is replaced.
'use strict';

const { Capi } = require('@tencent-sdk/capi');
const { Scf } = require('tencent-component-toolkit');

const requests = [];
let created = false;

Capi.prototype.request = async function (data, options) {
  requests.push({ host: options.host, ...data });
  switch (data.Action) {
    case 'CreateFunction':
      created = true;
      return { Response: {} };
    case 'GetFunction':
      return created
        ? { Response: { Status: 'Active', FunctionName: data.FunctionName, Namespace: data.Namespace, Tags: [] } }
        : { Response: { Error: { Code: 'ResourceNotFound.Function', Message: 'not found' }, RequestId: '-' } };
    case 'ListTriggers':
      return { Response: { Triggers: [], TotalCount: 0 } };
    case 'DescribeResourceTagsByResourceIds':
      return { Response: { Tags: [], TotalCount: 0 } };
    case 'CreateTrigger':
      return { Response: { TriggerInfo: { ...data } } };
    default:
      return { Response: {} };
  }
};

console.log = console.error; // the engine reports its progress there
let input = '';
process.stdin.on('data', (chunk) => (input += chunk));
process.stdin.on('end', async () => {
  const { region, inputs } = JSON.parse(input);
  const scf = new Scf({ SecretId: 'id', SecretKey: 'key' }, region);
  await scf.deploy({ ...inputs, code: { bucket: 'bucket', object: 'package.zip' } });
  process.stdout.write(JSON.stringify(requests, null, 1));
});
