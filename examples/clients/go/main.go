// May the data be processed? Ask, and take whatever is not an ALLOW for a DENY.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	consent "consentd.example/client/generated/consent/v1"
)

// Nobody who asks waits for ever; what is not answered by then is a DENY.
const deadline = 2 * time.Second

// mayProcess tells whether it is allowed, and why or why not.
func mayProcess(ctx context.Context, sidecar *grpc.ClientConn, question *consent.Question) (bool, string) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	client := consent.NewEnforcementServiceClient(sidecar)
	response, err := client.MayProcess(ctx, &consent.MayProcessRequest{Question: question})
	if err != nil {
		// Not there, too late, or malformed: nobody has said yes.
		return false, "nobody answered"
	}
	answer := response.GetAnswer()
	// A verdict that this program does not know is no ALLOW.
	allowed := answer.GetVerdict() == consent.Verdict_VERDICT_ALLOW
	return allowed, strings.TrimPrefix(answer.GetReason().String(), "REASON_")
}

// withdraw writes that the subject withdrew, and gives the token of that event.
func withdraw(ctx context.Context, subject, purpose, channel string) (string, error) {
	command := exec.CommandContext(ctx, "consentd", "ledger", "withdraw", subject, purpose, "--channel", channel, "--json")
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("withdrawing: %w", err)
	}
	var written struct{ Token string }
	if err := json.Unmarshal(output, &written); err != nil {
		return "", fmt.Errorf("reading what was written: %w", err)
	}
	return written.Token, nil
}

func show(when string, allowed bool, reason string) {
	verdict := "DENY"
	if allowed {
		verdict = "ALLOW"
	}
	fmt.Printf("%-16s%s (%s)\n", when, verdict, reason)
}

func run(ctx context.Context, address, subject, purpose, channel string) error {
	plaintext := grpc.WithTransportCredentials(insecure.NewCredentials())
	sidecar, err := grpc.NewClient(address, plaintext)
	if err != nil {
		return err
	}
	defer sidecar.Close()
	space, id, _ := strings.Cut(subject, ":")
	question := &consent.Question{
		Subject: &consent.Subject{Space: space, Id: id},
		Purpose: purpose,
		Channel: channel,
	}
	allowed, reason := mayProcess(ctx, sidecar, question)
	show("before", allowed, reason)

	// The answer waits until the sidecar knows of the withdrawal, or is a DENY.
	if question.AtLeastAsFresh, err = withdraw(ctx, subject, purpose, channel); err != nil {
		return err
	}
	allowed, reason = mayProcess(ctx, sidecar, question)
	show("withdrawn", allowed, reason)

	nobody, err := grpc.NewClient("127.0.0.1:1", plaintext)
	if err != nil {
		return err
	}
	defer nobody.Close()
	allowed, reason = mayProcess(ctx, nobody, question)
	show("no sidecar", allowed, reason)
	return nil
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: client ADDRESS SUBJECT PURPOSE CHANNEL")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}
