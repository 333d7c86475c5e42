package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// completeTokens offers names of tokens for at most so many arguments.
func (a *app) completeTokens(most int) cobra.CompletionFunc {
	return a.completeArguments(most, tokenNames)
}

// completeRoles offers names of roles that can be changed, for at most so many arguments.
func (a *app) completeRoles(most int) cobra.CompletionFunc {
	return a.completeArguments(most, func(ctx context.Context, c *client.Client) (names []string) {
		return slices.DeleteFunc(roleNames(ctx, c), func(name string) bool {
			_, builtIn := access.BuiltIn(name)
			return builtIn
		})
	})
}

// completeIdentities offers identities that have grants or are tokens, for at most so many arguments.
func (a *app) completeIdentities(most int) cobra.CompletionFunc {
	return a.completeArguments(most, identities)
}

// completeRoleSet offers the name of a role to change and then verbs.
func (a *app) completeRoleSet(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeRoles(1)(cmd, args, toComplete)
	}
	verbs := slices.DeleteFunc(access.All.Names(), func(v string) bool { return slices.Contains(args[1:], v) })
	return verbs, cobra.ShellCompDirectiveNoFileComp
}

// completeFlagRole offers names of roles as the value of a flag, also without a node: the built-in ones.
func (a *app) completeFlagRole(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := a.offer(cmd, roleNames)
	if len(names) == 0 {
		names = []string{access.Viewer, access.Reporter, access.Operator, access.Admin}
	}
	if cmd.Name() == "enable" {
		names = append(names, nobody)
	}
	return beginningWith(names, toComplete), cobra.ShellCompDirectiveNoFileComp
}

// completeFlagIdentity offers identities as the value of a flag.
func (a *app) completeFlagIdentity(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := append(a.offer(cmd, identities), limits.AnonymousIdentity)
	return beginningWith(names, toComplete), cobra.ShellCompDirectiveNoFileComp
}

// completeFlagPattern offers patterns after the last comma of a flag's value.
func (a *app) completeFlagPattern(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	given := ""
	if i := strings.LastIndexByte(toComplete, ','); i >= 0 {
		given, toComplete = toComplete[:i+1], toComplete[i+1:]
	}
	patterns := a.patterns(cmd, toComplete)
	for i := range patterns {
		patterns[i] = given + patterns[i]
	}
	return patterns, cobra.ShellCompDirectiveNoFileComp
}

// completeArguments offers names that the nodes know, for at most so many arguments.
func (a *app) completeArguments(most int, names func(context.Context, *client.Client) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return beginningWith(a.offer(cmd, names), toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

func beginningWith(names []string, prefix string) []string {
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	return names[:min(len(names), completionNames)]
}

func tokenNames(ctx context.Context, c *client.Client) (names []string) {
	for t, err := range c.ListTokens(ctx, client.ListTokensOptions{}) {
		if err != nil {
			break
		}
		names = append(names, t.GetName())
	}
	return names
}

func roleNames(ctx context.Context, c *client.Client) (names []string) {
	list, err := c.ListRoles(ctx)
	if err != nil {
		return nil
	}
	for _, r := range list.GetRoles() {
		names = append(names, r.GetName())
	}
	return names
}

func identities(ctx context.Context, c *client.Client) (names []string) {
	for g, err := range c.ListGrants(ctx, client.ListGrantsOptions{}) {
		if err != nil {
			break
		}
		names = append(names, g.GetIdentity())
	}
	for _, name := range tokenNames(ctx, c) {
		if identity := limits.TokenIdentity + name; !slices.Contains(names, identity) {
			names = append(names, identity)
		}
	}
	return names
}
