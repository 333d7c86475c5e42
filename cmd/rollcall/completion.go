package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// Completion asks the nodes for names. If it cannot, it offers none, soon and without an error: an error
// would be printed into the line that is being typed.
const (
	completionTimeout = time.Second
	completionNames   = 100
)

// complete offers fixed values of a flag.
func (a *app) complete(cmd *cobra.Command, flag string, values ...string) {
	a.completeFlag(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeFlag has f offer values of a flag, in the run of a shell that asks for them. Cobra keeps what is registered
// for as long as the process lives, and with it all commands: tests make thousands of them.
func (a *app) completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if !a.completing {
		return
	}
	// The only error is that cmd has no such flag, which is a defect of this program.
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// isCompletion says whether a shell asks what it can offer.
func isCompletion(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// completeServices offers service names for at most so many arguments.
func (a *app) completeServices(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.serviceNames(cmd, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlagService offers service names as the value of a flag.
func (a *app) completeFlagService(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.serviceNames(cmd, toComplete), cobra.ShellCompDirectiveNoFileComp
}

// completeSet offers a name and then a status, or a status after SERVICE=.
func (a *app) completeSet(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if service, _, ok := strings.Cut(toComplete, "="); ok {
		var pairs []string
		for _, s := range cliflag.Reportable {
			pairs = append(pairs, service+"="+s)
		}
		return pairs, none
	}
	switch {
	case len(args) == 0:
		return a.serviceNames(cmd, toComplete), none
	case len(args) == 1 && !strings.Contains(args[0], "="):
		return cliflag.Reportable, none
	case strings.Contains(args[0], "="):
		names := a.serviceNames(cmd, toComplete)
		for i := range names {
			names[i] += "="
		}
		return names, none | cobra.ShellCompDirectiveNoSpace
	}
	return nil, none
}

func (a *app) serviceNames(cmd *cobra.Command, prefix string) []string {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) (names []string) {
		for rec, err := range c.List(ctx, client.ListOptions{Prefix: prefix, PageSize: completionNames}) {
			if err != nil || len(names) == completionNames {
				break
			}
			names = append(names, rec.GetService())
		}
		return names
	})
}

// offer asks the nodes for names, with little time.
func (a *app) offer(cmd *cobra.Command, names func(context.Context, *client.Client) []string) []string {
	if cliflag.BindEnvironment(cmd.Flags()) != nil {
		return nil
	}
	c, err := a.dial()
	if err != nil {
		return nil
	}
	defer c.Close()
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	return names(ctx, c)
}
