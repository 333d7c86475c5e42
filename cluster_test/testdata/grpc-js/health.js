// Check and Watch by grpc-js as it comes: node health.js HOST:PORT. TestProcessStockJavaScript reads
// what it prints.
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync(__dirname + '/health.proto', {keepCase: true, enums: String, defaults: true});
const {Health} = grpc.loadPackageDefinition(definition).grpc.health.v1;
const address = process.argv[2];
const deadline = () => ({deadline: Date.now() + 30000});

const check = (client, service) => new Promise((resolve) => {
  client.Check({service}, deadline(), (err, res) => resolve(err ? grpc.status[err.code] : res.status));
});

const firstOfWatch = (client, service) => new Promise((resolve) => {
  const call = client.Watch({service}, deadline());
  let status = 'nothing';
  call.on('data', (res) => { status = res.status; call.cancel(); });
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
    console.log('watch', service, await firstOfWatch(client, service));
  }
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
