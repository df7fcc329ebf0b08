// May the data be processed? Ask, and take whatever is not an ALLOW for a DENY.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

// Milliseconds. Nobody who asks waits for ever; what is not answered by then is a DENY.
const DEADLINE = 2000;

const definition = loader.loadSync("consent/v1/enforcement.proto", {
  includeDirs: [process.env.PROTO],
  enums: String,
  defaults: true,
});
const { EnforcementService } = grpc.loadPackageDefinition(definition).consent.v1;

// Whether it is allowed, and why or why not.
function mayProcess(sidecar, question) {
  return new Promise((resolve) => {
    sidecar.mayProcess({ question }, { deadline: Date.now() + DEADLINE }, (error, response) => {
      if (error) {
        // Not there, too late, or malformed: nobody has said yes.
        resolve({ allowed: false, reason: "nobody answered" });
        return;
      }
      const { verdict, reason } = response.answer ?? {};
      // A verdict that this program does not know is no ALLOW.
      resolve({ allowed: verdict === "VERDICT_ALLOW", reason: String(reason).replace(/^REASON_/, "") });
    });
  });
}

// Writes that the subject withdrew, and gives the token of that event.
async function withdraw(subject, purpose, channel) {
  const words = ["ledger", "withdraw", subject, purpose, "--channel", channel, "--json"];
  const { stdout } = await promisify(execFile)("consentd", words);
  return JSON.parse(stdout).token;
}

function show(when, { allowed, reason }) {
  console.log(`${when.padEnd(16)}${allowed ? "ALLOW" : "DENY"} (${reason})`);
}

const [address, subject, purpose, channel] = process.argv.slice(2);
const colon = subject.indexOf(":");
const question = {
  subject: { space: subject.slice(0, colon), id: subject.slice(colon + 1) },
  purpose,
  channel,
};

const sidecar = new EnforcementService(address, grpc.credentials.createInsecure());
show("before", await mayProcess(sidecar, question));
// The answer waits until the sidecar knows of the withdrawal, or is a DENY.
question.atLeastAsFresh = await withdraw(subject, purpose, channel);
show("withdrawn", await mayProcess(sidecar, question));
sidecar.close();

const nobody = new EnforcementService("127.0.0.1:1", grpc.credentials.createInsecure());
show("no sidecar", await mayProcess(nobody, question));
nobody.close();
