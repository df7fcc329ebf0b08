// Load with k6: two hundred single questions a second, and streams beside them. What is not as it should be fails the run.
import grpc from "k6/net/grpc";
import { check } from "k6";
import exec from "k6/execution";

const tls = __ENV.CA ? { tls: { cacerts: [open(__ENV.CA)], cert: open(__ENV.CERT), key: open(__ENV.KEY) } } : { plaintext: true };

export const options = {
  scenarios: {
    single: { executor: "constant-arrival-rate", rate: 200, duration: "5s", preAllocatedVUs: 10, maxVUs: 50, exec: "single" },
    streams: { executor: "constant-vus", vus: 2, duration: "5s", exec: "streams" },
  },
  thresholds: { checks: ["rate==1"] },
};

const client = new grpc.Client();
client.load([__ENV.PROTO], "consent/v1/enforcement.proto");
// By reflection as well, which must tell the same.
const reflected = new grpc.Client();

const question = { subject: { space: "crm", id: "1" }, purpose: "newsletter", channel: "email" };

export function setup() {
  reflected.connect(__ENV.ADDRESS, { reflect: true, timeout: "10s", ...tls });
  const answered = reflected.invoke("consent.v1.EnforcementService/MayProcess", { question });
  if (answered.status !== grpc.StatusOK) exec.test.abort(`by reflection: ${JSON.stringify(answered)}`);
  reflected.close();
}

export function single() {
  if (exec.vu.iterationInScenario === 0) client.connect(__ENV.ADDRESS, { timeout: "10s", ...tls });
  const answered = client.invoke("consent.v1.EnforcementService/MayProcess", { question }, { timeout: "5s" });
  check(answered, {
    "is answered": (r) => r.status === grpc.StatusOK,
    "is allowed": (r) => r.message && r.message.answer.reason === "REASON_CONSENT",
  });
}

export function streams() {
  if (exec.vu.iterationInScenario === 0) client.connect(__ENV.ADDRESS, { timeout: "10s", ...tls });
  return new Promise((resolve) => {
    const stream = new grpc.Stream(client, "consent.v1.EnforcementService/MayProcessStream");
    let count = 0;
    stream.on("data", (message) => (count += message.answers.length));
    stream.on("error", (error) => check(error, { "no stream fails": () => false }));
    stream.on("end", () => {
      check(count, { "every message is answered": (answers) => answers === 20 });
      resolve();
    });
    const context = { purpose: "newsletter", channel: "email" };
    for (let sent = 0; sent < 20; sent += 1) {
      stream.write({ context, questions: [{ subject: { space: "crm", id: "1" } }] });
    }
    stream.end();
  });
}
