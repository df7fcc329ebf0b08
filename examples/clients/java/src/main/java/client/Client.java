package client;

import com.google.gson.JsonParser;
import consent.v1.EnforcementServiceGrpc;
import consent.v1.Enforcement.Answer;
import consent.v1.Enforcement.MayProcessRequest;
import consent.v1.Enforcement.Question;
import consent.v1.Types.Subject;
import consent.v1.Types.Verdict;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/** May the data be processed? Ask, and take whatever is not an ALLOW for a DENY. */
public final class Client {
  /** Nobody who asks waits for ever; what is not answered by then is a DENY. */
  private static final long DEADLINE_SECONDS = 2;

  private Client() {}

  /** What is to be done, and why. */
  record Decision(boolean allowed, String reason) {
    void show(String when) {
      System.out.printf("%-16s%s (%s)%n", when, allowed ? "ALLOW" : "DENY", reason);
    }
  }

  static Decision mayProcess(ManagedChannel sidecar, Question question) {
    var request = MayProcessRequest.newBuilder().setQuestion(question).build();
    try {
      var stub = EnforcementServiceGrpc.newBlockingStub(sidecar);
      Answer answer = stub.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS).mayProcess(request).getAnswer();
      // A verdict that this program does not know is no ALLOW.
      boolean allowed = answer.getVerdict() == Verdict.VERDICT_ALLOW;
      return new Decision(allowed, answer.getReason().name().replaceFirst("^REASON_", ""));
    } catch (StatusRuntimeException error) {
      // Not there, too late, or malformed: nobody has said yes.
      return new Decision(false, "nobody answered");
    }
  }

  /** Writes that the subject withdrew, and gives the token of that event. */
  static String withdraw(String subject, String purpose, String channel) throws IOException, InterruptedException {
    var command = new ProcessBuilder(
        "consentd", "ledger", "withdraw", subject, purpose, "--channel", channel, "--json");
    Process writing = command.redirectError(ProcessBuilder.Redirect.INHERIT).start();
    String written = new String(writing.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (writing.waitFor() != 0) {
      throw new IOException("the withdrawal was not written");
    }
    return JsonParser.parseString(written).getAsJsonObject().get("token").getAsString();
  }

  private static ManagedChannel connect(String address) {
    return Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
  }

  public static void main(String[] arguments) throws IOException, InterruptedException {
    String address = arguments[0];
    String subject = arguments[1];
    String purpose = arguments[2];
    String channel = arguments[3];
    String[] parts = subject.split(":", 2);
    Question question = Question.newBuilder()
        .setSubject(Subject.newBuilder().setSpace(parts[0]).setId(parts[1]))
        .setPurpose(purpose)
        .setChannel(channel)
        .build();
    ManagedChannel sidecar = connect(address);
    mayProcess(sidecar, question).show("before");
    // The answer waits until the sidecar knows of the withdrawal, or is a DENY.
    String token = withdraw(subject, purpose, channel);
    mayProcess(sidecar, question.toBuilder().setAtLeastAsFresh(token).build()).show("withdrawn");
    sidecar.shutdown();

    ManagedChannel nobody = connect("127.0.0.1:1");
    mayProcess(nobody, question).show("no sidecar");
    nobody.shutdown();
  }
}
