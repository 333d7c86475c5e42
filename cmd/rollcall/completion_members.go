package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
)

// completeMembers offers names of members for at most so many arguments.
func (a *app) completeMembers(most int) cobra.CompletionFunc {
	return a.completeArguments(most, func(ctx context.Context, c *client.Client) []string {
		s, err := c.ClusterStatus(ctx)
		if err != nil {
			return nil
		}
		return memberNames(s)
	})
}

// completeReplicas offers names of replicas for at most so many arguments.
func (a *app) completeReplicas(most int) cobra.CompletionFunc {
	return a.completeArguments(most, func(ctx context.Context, c *client.Client) (names []string) {
		s, err := c.ClusterStatus(ctx)
		if err != nil {
			return nil
		}
		for _, m := range s.GetMembers() {
			if m.GetMember().GetReplica() {
				names = append(names, m.GetMember().GetName())
			}
		}
		return names
	})
}
