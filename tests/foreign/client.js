// Asks consentd with grpc-js as its callers do, and prints what came as one JSON object.
//
//     client.js TASK ADDRESS [CA CERT KEY]
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const root = path.resolve(__dirname, "../../proto");
const loaded = loader.loadSync("consent/v1/enforcement.proto", { includeDirs: [root], longs: String, enums: String });
const { EnforcementService } = grpc.loadPackageDefinition(loaded).consent.v1;

const [task, address, ...files] = process.argv.slice(2);
const credentials = () => {
  if (files.length === 0) return grpc.credentials.createInsecure();
  const [ca, cert, key] = files.map((file) => fs.readFileSync(file));
  return grpc.credentials.createSsl(ca, key, cert);
};
const client = (options = {}) => new EnforcementService(address, credentials(), options);
const question = (id = "1") => ({ subject: { space: "crm", id }, purpose: "newsletter", channel: "email" });
const deadline = (milliseconds) => ({ deadline: Date.now() + milliseconds });
const unary = (asker, method, request, options = deadline(10_000)) =>
  new Promise((resolve, reject) => {
    asker[method](request, new grpc.Metadata(), options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const context = { purpose: "newsletter", channel: "email" };
const questions = ["1", "2"].map((id) => ({ subject: { space: "crm", id } }));

async function calls() {
  const asker = client();
  const single = await unary(asker, "MayProcess", { question: question() });
  const batch = await unary(asker, "MayProcessBatch", { context, questions });
  const streamed = await new Promise((resolve, reject) => {
    const reasons = [];
    const stream = asker.MayProcessStream(new grpc.Metadata(), deadline(10_000));
    stream.on("data", (message) => reasons.push(...message.answers.map((answer) => answer.reason)));
    stream.on("end", () => resolve(reasons));
    stream.on("error", reject);
    for (let count = 0; count < 100; count += 1) stream.write({ context, questions });
    stream.end();
  });
  const explained = await unary(asker, "Explain", { question: question() });
  const malformed = await unary(asker, "MayProcess", { question: {} }).then(
    () => "answered",
    (error) => grpc.status[error.code],
  );
  // Health, without its .proto file: an empty message asks about everything, field 1 is the status.
  const health = await new Promise((resolve, reject) => {
    const raw = (bytes) => bytes;
    const method = "/grpc.health.v1.Health/Check";
    asker.makeUnaryRequest(method, raw, raw, Buffer.alloc(0), new grpc.Metadata(), deadline(10_000), (error, bytes) =>
      error ? reject(error) : resolve([...bytes]),
    );
  });
  asker.close();
  return {
    single: single.answer.reason,
    batch: batch.answers.map((answer) => answer.reason),
    streamed: [...new Set(streamed)].sort(),
    streamed_count: streamed.length,
    explained: explained.answer.reason,
    malformed,
    health,
    evidence: single.evidenceId.length > 0,
  };
}

async function keepalive() {
  const asker = client({
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
  });
  const first = await unary(asker, "MayProcess", { question: question() });
  const left = [];
  const channel = asker.getChannel();
  const watch = (state) =>
    channel.watchConnectivityState(state, Infinity, (error) => {
      if (error) return;
      const next = channel.getConnectivityState(false);
      left.push(grpc.connectivityState[next]);
      if (next !== grpc.connectivityState.SHUTDOWN) watch(next);
    });
  watch(channel.getConnectivityState(false));
  await sleep(27_000);
  const left_ready = [...left];
  const last = await unary(asker, "MayProcess", { question: question() });
  asker.close();
  return { first: first.answer.reason, last: last.answer.reason, left_ready };
}

async function load() {
  let stop = false;
  process.stdin.resume();
  process.stdin.on("end", () => (stop = true));
  const failed = [];
  const ask = async () => {
    const asker = client({ "grpc.use_local_subchannel_pool": 1 });
    let answered = 0;
    while (!stop) {
      try {
        await new Promise((resolve, reject) => {
          const metadata = new grpc.Metadata({ waitForReady: true });
          const done = (error, answer) => (error ? reject(error) : resolve(answer));
          asker.MayProcess({ question: question() }, metadata, deadline(20_000), done);
        });
        answered += 1;
      } catch (error) {
        failed.push(`${grpc.status[error.code]}: ${error.details}`);
        await sleep(50);
      }
    }
    asker.close();
    return answered;
  };
  const answered = await Promise.all([ask(), ask(), ask(), ask()]);
  return { answered: answered.reduce((sum, count) => sum + count, 0), least: Math.min(...answered), failed };
}

({ calls, keepalive, load })[task]().then(
  (told) => {
    console.log(JSON.stringify(told));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
