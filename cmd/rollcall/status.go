package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
)

func newStatusCommand(a *app) *cobra.Command {
	var (
		wait  time.Duration
		watch bool
	)
	cmd := named(&cobra.Command{
		Use:   "status",
		Short: "Show the cluster: leader, members, problems",
		Long: `Shows the cluster: leader, revision, whether it takes writes, each member, and what is wrong, worst
first. The first node that answers asks the others.

--wait asks again until a leader takes writes, every member is ready, no change of members is under way and
the feature level has risen. If that does not come in time, it shows what there is, and the exit status is
4.

--watch asks again every two seconds until Ctrl-C. On a terminal it shows the newest answer only. With
-o json each answer is an object on a line. --timeout does not apply to either.`,
		Example: `  rollcall status
  rollcall status --watch
  rollcall status --wait 30s`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Lookup("wait").Changed
			switch {
			case watch && given:
				return invalid("--watch goes on until it is interrupted, and --wait ends: give one of them")
			case watch:
				return a.watchStatus(cmd)
			case !given:
				return a.call(cmd, func(ctx context.Context, c *client.Client) error {
					s, err := c.ClusterStatus(ctx)
					if err != nil {
						return doing("get the status of the cluster", err)
					}
					return a.printStatus(s)
				})
			}
			if wait <= 0 {
				return invalid("--wait is %s; it must be more than 0", wait)
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := awaitCluster(cmd.Context(), c.ClusterStatus, wait)
			if s == nil {
				if f, ok := errors.AsType[*failure](err); ok && f.next == noNodeAdvice {
					f.next = a.connectAdvice(f.err.Error())
				}
				return err
			}
			return errors.Join(a.printStatus(s), err)
		},
	})
	cliflag.DurationVar(cmd.Flags(), &wait, "wait", 0, "wait this long at most for a leader and until every member is ready")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "ask again every two seconds, until Ctrl-C")
	cliflag.FlagOnly(cmd.Flags(), "wait", "watch")
	return cmd
}

// awaitCluster asks for the status until the whole cluster is ready, or timeout has passed. With an error it returns the
// newest answer, if there was one.
func awaitCluster(parent context.Context, ask func(context.Context) (*rollcallv1.GetStatusResponse, error), timeout time.Duration) (*rollcallv1.GetStatusResponse, error) {
	const (
		pause   = 250 * time.Millisecond
		attempt = 3 * time.Second // members are given 1 s each, side by side, to answer the node that is asked
	)
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var (
		last    *rollcallv1.GetStatusResponse
		lastErr error
	)
	for {
		try, done := context.WithTimeout(ctx, attempt)
		s, err := ask(try)
		done()
		if err == nil {
			last = s
			if missing := unready(s); missing == "" {
				return s, nil
			}
		} else if client.IsDenied(err) || client.IsUnauthenticated(err) {
			return nil, doing("get the status of the cluster", err) // time changes nothing
		} else if ctx.Err() == nil || lastErr == nil {
			lastErr = err // preferably of a try that was not cut short
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			switch {
			case parent.Err() != nil:
				return nil, parent.Err()
			case last == nil:
				return nil, unanswered(timeout, lastErr)
			}
			return last, notAsAsked(fmt.Errorf("the cluster is not ready after %s: %s", timeout, unready(last)))
		}
	}
}

// unanswered is the failure of a question that no node answered in time.
func unanswered(timeout time.Duration, last error) *failure {
	why := last.Error()
	if e, ok := errors.AsType[*client.Error](last); ok {
		why = strings.TrimPrefix(e.Message, "no endpoint answers: ")
	}
	return &failure{
		exit:   exitNotDone,
		code:   codes.Unavailable,
		reason: client.ReasonNoEndpoint,
		err:    fmt.Errorf("no node answers within %s: %s", timeout, why),
		next:   noNodeAdvice,
	}
}

// unready returns what keeps a cluster from being ready as a whole; "" if nothing does.
func unready(s *rollcallv1.GetStatusResponse) string {
	switch {
	case s.GetLeader() == "":
		return "there is no leader"
	case !s.GetWritable():
		return "it takes no writes"
	}
	for _, m := range s.GetMembers() {
		if inChange(m.GetMember()) {
			return explain.Member(m.GetMember())
		}
	}
	var not []string
	for _, m := range s.GetMembers() {
		if !m.GetReady() {
			not = append(not, m.GetMember().GetName())
		}
	}
	if len(not) > 0 {
		return strings.Join(not, ", ") + " not ready"
	}
	if level := allowedLevel(s); level > s.GetLevel() {
		return fmt.Sprintf("its feature level is about to rise to %d", level)
	}
	return ""
}

// allowedLevel is the highest feature level that all members can fold and none holds down. A cluster that was
// just formed, or upgraded, rises to it in a moment; until then it refuses what needs it.
func allowedLevel(s *rollcallv1.GetStatusResponse) uint32 {
	var lowest uint32
	for i, m := range s.GetMembers() {
		most := m.GetMaxLevel()
		if hold := m.GetHoldLevel(); hold > 0 {
			most = min(most, hold)
		}
		if i == 0 || most < lowest {
			lowest = most
		}
	}
	return lowest
}

// shortID returns enough of a cluster id to tell the clusters of one operator apart. JSON has all of it.
func shortID(id string) string { return id[:min(len(id), 4)] }
