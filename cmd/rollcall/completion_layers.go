package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// completeOverrides offers the patterns that are overridden.
func (a *app) completeOverrides(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context, c *client.Client) (patterns []string) {
		for o, err := range c.ListOverrides(ctx, client.ListOverridesOptions{}) {
			if err != nil || len(patterns) == completionNames {
				break
			}
			if strings.HasPrefix(o.GetPattern(), toComplete) {
				patterns = append(patterns, o.GetPattern())
			}
		}
		return patterns
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeOverrideSet offers a pattern and then a status.
func (a *app) completeOverrideSet(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.patterns(cmd, toComplete), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return cliflag.Reportable, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeRuleAdd offers the name of a rule to change and then a pattern.
func (a *app) completeRuleAdd(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.ruleNames(cmd, toComplete, nil), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return a.patterns(cmd, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeRules offers names of rules for at most so many arguments.
func (a *app) completeRules(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.ruleNames(cmd, toComplete, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlagRule offers names of rules after the last comma of a flag's value.
func (a *app) completeFlagRule(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	given := ""
	if i := strings.LastIndexByte(toComplete, ','); i >= 0 {
		given, toComplete = toComplete[:i+1], toComplete[i+1:]
	}
	names := a.ruleNames(cmd, toComplete, strings.Split(given, ","))
	for i := range names {
		names[i] = given + names[i]
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// patterns are names of services that begin with prefix, and what covers those beneath their next "/" or ".".
func (a *app) patterns(cmd *cobra.Command, prefix string) []string {
	var all []string
	seen := map[string]bool{}
	for _, name := range a.serviceNames(cmd, strings.TrimSuffix(prefix, "*")) {
		if i := strings.IndexAny(name[min(len(prefix), len(name)):], "/."); i >= 0 {
			group := name[:len(prefix)+i+1] + "*"
			if !seen[group] {
				seen[group] = true
				all = append(all, group)
			}
		}
		all = append(all, name)
	}
	return all
}

// ruleNames are names of rules that begin with prefix, but those given already.
func (a *app) ruleNames(cmd *cobra.Command, prefix string, given []string) []string {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) (names []string) {
		list, err := c.ListRules(ctx)
		if err != nil {
			return nil
		}
		for _, r := range list.GetRules() {
			if strings.HasPrefix(r.GetName(), prefix) && !slices.Contains(given, r.GetName()) && len(names) < completionNames {
				names = append(names, r.GetName())
			}
		}
		return names
	})
}
