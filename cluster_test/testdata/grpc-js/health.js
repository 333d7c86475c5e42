// Check, List, Watch and a write by grpc-js as it comes, with the protos of api/: node health.js HOST:PORT.
// TestProcessStockJavaScript copies api/ beside this file, and reads what it prints.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync('rollcall/v1/rollcall.proto', {
  includeDirs: [__dirname + '/api'], keepCase: true, longs: Number, enums: String, defaults: true,
});
const {Health} = grpc.loadPackageDefinition(definition).grpc.health.v1;
const {Admin} = grpc.loadPackageDefinition(definition).rollcall.v1;
const address = process.argv[2];
const deadline = () => ({deadline: Date.now() + 30000});

const check = (client, service) => new Promise((resolve) => {
  client.Check({service}, deadline(), (err, res) => resolve(err ? grpc.status[err.code] : res.status));
});

const list = (client) => new Promise((resolve, reject) => {
  client.List({}, deadline(), (err, res) => err ? reject(err) : resolve(res.statuses));
});

const set = (client, request) => new Promise((resolve) => {
  client.SetServingStatus(request, deadline(), (err, res) => resolve(err ? grpc.status[err.code] : res));
});

// What a watch says, until wanted has come.
const watch = (client, service, wanted) => new Promise((resolve) => {
  const call = client.Watch({service}, deadline());
  let status = 'nothing';
  call.on('data', (res) => {
    status = res.status;
    if (!wanted || status === wanted) call.cancel();
  });
  call.on('error', () => {}); // the cancellation
  call.on('close', () => resolve(status));
  call.on('end', () => resolve(status));
});

async function main() {
  const client = new Health(address, grpc.credentials.createInsecure());
  for (const service of ['payments', 'orders', 'nobody', 'rollcall.reads']) {
    console.log('check', service, await check(client, service));
  }
  for (const service of ['nobody', 'payments']) {
    console.log('watch', service, await watch(client, service));
  }
  console.log('list payments', (await list(client)).payments.status);

  const admin = new Admin(address, grpc.credentials.createInsecure());
  const seen = watch(client, 'from/node', 'NOT_SERVING');
  const written = await set(admin, {service: 'from/node', status: 'NOT_SERVING', reason: 'by grpc-js', request_id: process.argv[3]});
  console.log('set', written.service ? written.service.service : written);
  console.log('watch from/node', await seen);
  console.log('set without a status', await set(admin, {service: 'from/node'}));
  admin.close();
  client.close();

  const balanced = new Health(address, grpc.credentials.createInsecure(), {
    'grpc.service_config': JSON.stringify({
      loadBalancingConfig: [{round_robin: {}}],
      healthCheckConfig: {serviceName: 'rollcall.reads'},
    }),
  });
  console.log('balanced on rollcall.reads', await check(balanced, 'payments'));
  balanced.close();
}

main().catch((err) => { console.error(err); process.exit(1); });
