package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newWaitCommand(a *app) *cobra.Command {
	var (
		want    = cliflag.AwaitedStatus(healthpb.HealthCheckResponse_SERVING)
		timeout time.Duration
	)
	cmd := named(&cobra.Command{
		Use:   "wait SERVICE",
		Short: "Wait until a service has a status",
		Long: `Waits until a service has a status: SERVING, or the one given by --for. The service need not exist
yet. "--for service_unknown" waits until it does not exist. The node's own names, such as
rollcall.leader, can be waited for too.

Exit status: 0 it has the status; 4 it did not have it within --timeout; 1 no node answered. The
variable ROLLCALL_TIMEOUT is not used here.`,
		Example: `  rollcall wait shop/cart
  rollcall wait shop/cart --for not_serving --timeout 2m`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			if err := checkLookup(service); err != nil {
				return err
			}
			if timeout <= 0 {
				return invalid("--timeout is %s; it must be more than 0", timeout)
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.wait(cmd.Context(), c, service, client.Status(want), timeout)
		},
	})
	cmd.Flags().Var(&want, "for", "`status` to wait for")
	cliflag.DurationVar(cmd.Flags(), &timeout, "timeout", 30*time.Second, "how long to wait")
	cliflag.FlagOnly(cmd.Flags(), "timeout") // ROLLCALL_TIMEOUT is for what is quick
	a.complete(cmd, "for", cliflag.Awaitable()...)
	return cmd
}

func (a *app) wait(parent context.Context, c *client.Client, service string, want client.Status, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	silent := a.noteSilence(ctx, c)
	defer silent()
	// Watch and not WaitFor, because the last status is reported when time is over.
	var last *client.Update
	for ctx.Err() == nil {
		for u, err := range c.Watch(ctx, service) {
			if err != nil {
				if ctx.Err() == nil && !nobodyThere(err) {
					return doing("wait for "+format.Service(service), err)
				}
				break
			}
			silent()
			last = &u
			if u.Status == want {
				if a.forPrograms() {
					return a.printUpdate(u, a.changeOf(ctx, c, u))
				}
				return a.print(nil, []string{u.Service}, func() error {
					_, err := fmt.Fprintln(a.stdout, a.describeUpdate(u, nil))
					return err
				})
			}
		}
		pause(ctx, 250*time.Millisecond)
	}
	switch {
	case parent.Err() != nil:
		return parent.Err()
	case last == nil:
		return a.nobodyAnswers(parent, c, fmt.Sprintf(" within %s", timeout))
	}
	return notAsAsked(fmt.Errorf("%s is %s, not %s, after %s", format.Service(service), last.Status, want, timeout))
}

// nobodyThere reports the error that no node can be connected to. Nodes may still be starting.
func nobodyThere(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Reason == client.ReasonNoEndpoint
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// notAsAsked is the failure of a question that was answered otherwise than asked for: exit status 4.
func notAsAsked(err error) *failure {
	return &failure{exit: exitNotAsAsked, code: codes.FailedPrecondition, reason: reasonNotAsAsked, err: err}
}
