package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newRuleCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "rule add|remove|list|check",
		Short: "Refuse changes that would leave too few services SERVING",
		Long: `A rule says how many of the services that a pattern covers must be SERVING. A change that would leave
fewer is refused: a report, a batch, a delete, an override, a shutdown, and the end of an override by
"clear" or "resume". The whole change counts, so a batch that moves traffic from one to another passes.
A rule that is broken already refuses only what makes it worse, so it never stops a repair.

What is a fact is not refused: an override that ends because its time is over. It says in the history
which rules it broke.`,
		Example: `  rollcall rule add pay-min 'shop/pay/*' --min 1
  rollcall rule list`,
	}, newRuleAddCommand(a), newRuleRemoveCommand(a), newRuleListCommand(a), newRuleCheckCommand(a))
}

func newRuleAddCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		rule   client.Rule
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:     "add NAME PATTERN --min N | --percent P",
		Aliases: []string{"set"},
		Short:   "Set a rule, or change the one of this name",
		Long: `Sets a rule, or changes the one of this name: of the services that PATTERN covers, at least N, or P
percent rounded up, must be SERVING. With both, both hold. PATTERN is as for "rollcall override", but
not '**'. A rule may be broken when it is set; then it says so.`,
		Example: `  rollcall rule add pay-min 'shop/pay/*' --min 1
  rollcall rule add half '*' --percent 50 --reason "no more than half at once"`,
		Args:              patternArguments("NAME", "PATTERN"),
		ValidArgsFunction: a.completeRuleAdd,
		RunE: func(cmd *cobra.Command, args []string) error {
			rule.Name, rule.Pattern = args[0], args[1]
			if err := checkRule(cmd, rule); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.SetRule(ctx, rule, o)
				if err != nil {
					return doing("set rule "+rule.Name, err)
				}
				if !dryRun {
					countRule(ctx, c, resp)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) { fmt.Fprintln(w, describeRuleSet(resp, dryRun)) }, rule.Name)
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the rule of this name")
	f := cmd.Flags()
	f.Int64Var(&rule.MinServing, "min", 0, "at least so `many` must be SERVING")
	f.IntVar(&rule.MinPercent, "percent", 0, "at least so many `percent` must be SERVING, 1 to 100")
	f.BoolVar(&rule.EnforceReports, "enforce-reports", false, "it binds reports that have a lease, too")
	f.BoolVar(&dryRun, "dry-run", false, "say how far the rule would be from broken, and change nothing")
	cliflag.FlagOnly(f, "min", "percent", "enforce-reports", "dry-run")
	return named(cmd)
}

func checkRule(cmd *cobra.Command, r client.Rule) error {
	if err := checkRuleName(r.Name); err != nil {
		return err
	}
	if bad := limits.RulePattern(r.Pattern); bad != nil {
		if r.Pattern == "**" {
			return withNext(invalid(`pattern "**" is the switch of the whole registry, for overrides`), "use '*' for all services")
		}
		return invalid("pattern %w", bad)
	}
	count, percent := cmd.Flags().Changed("min"), cmd.Flags().Changed("percent")
	switch {
	case !count && !percent:
		return withNext(invalid("rule %s has no bound", r.Name), "give --min N or --percent P")
	case count && r.MinServing < 1:
		return invalid("--min is %d; it must be 1 or more", r.MinServing)
	case percent && (r.MinPercent < 1 || r.MinPercent > 100):
		return invalid("--percent is %d; it must be from 1 to 100", r.MinPercent)
	}
	return nil
}

func checkRuleName(name string) error {
	if bad := limits.RuleName(name); bad != nil {
		return invalid("rule name %w", bad)
	}
	return nil
}

// countRule adds to the answer how many services the rule covers, and how many of them are SERVING. The answer has
// that by itself only if the rule is broken. Without an answer soon, it stays as it is: the rule is set.
func countRule(ctx context.Context, c *client.Client, resp *rollcallv1.SetRuleResponse) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = client.WithReadOptions(ctx, client.ReadOptions{MinRevision: resp.GetRevision(), Cluster: resp.GetClusterId(), Info: new(client.ReadInfo)})
	list, err := c.ListRules(ctx)
	if err != nil {
		return
	}
	for _, r := range list.GetRules() {
		if r.GetName() == resp.GetRule().GetName() && r.GetRevision() == resp.GetRule().GetRevision() {
			resp.Rule = r
		}
	}
}

func describeRuleSet(resp *rollcallv1.SetRuleResponse, dryRun bool) string {
	r := resp.GetRule()
	line := fmt.Sprintf("rule %s: %s of %s", format.Printable(r.GetName()), explain.Bound(r), format.Printable(r.GetPattern()))
	switch {
	case !resp.GetChanged():
		line += fmt.Sprintf(", already since revision %d; nothing changed", r.GetRevision())
	case dryRun:
		line += "; dry run, nothing changed"
	default:
		line += fmt.Sprintf(", revision %d", resp.GetRevision())
	}
	switch {
	case explain.Spare(r) < 0:
		return line + "\n! " + explain.Distance(r)
	case r.GetTotal() == 0 && r.GetNeeded() == 0: // not counted
		return line + "\nit holds now"
	}
	return line + "\n" + explain.Distance(r)
}

func newRuleRemoveCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		dryRun       bool
		allowMissing bool
	)
	cmd := &cobra.Command{
		Use:               "remove NAME",
		SuggestFor:        []string{"delete", "del", "clear"},
		Aliases:           []string{"rm"},
		Short:             "Remove a rule",
		Long:              `Removes a rule: it refuses nothing from then on. What it refused and what broke it stays in the history.`,
		Example:           `  rollcall rule remove pay-min --reason "one cell is enough now"`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeRules(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkRuleName(name); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.RemoveRule(ctx, name, o)
				if err != nil {
					return doing("remove rule "+name, err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) {
					switch {
					case dryRun:
						fmt.Fprintf(w, "rule %s would be removed; dry run, nothing changed\n", format.Printable(name))
					case allowMissing:
						fmt.Fprintf(w, "rule %s does not exist any more, revision %d\n", format.Printable(name), resp.GetRevision())
					default:
						fmt.Fprintf(w, "rule %s removed, revision %d\n", format.Printable(name), resp.GetRevision())
					}
				}, name)
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the rule of this name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a rule that does not exist is no error")
	return named(cmd)
}

func newRuleListCommand(a *app) *cobra.Command {
	var flags *readFlags
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the rules, and how far each is from broken",
		Long:    `Lists the rules by name: what each asks for, how many services are SERVING, and how many may stop.`,
		Example: `  rollcall rule list`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := flags.options()
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list, err := c.ListRules(reading(ctx, options))
				if err != nil {
					return doing("list rules", err)
				}
				return a.printRules(list)
			})
		},
	}
	flags = addReadFlags(cmd)
	return named(cmd)
}

func newRuleCheckCommand(a *app) *cobra.Command {
	var flags *readFlags
	cmd := &cobra.Command{
		Use:   "check [NAME...]",
		Short: "Check whether rules hold, for scripts",
		Long: `Shows the rules of these names, or all, as "rollcall rule list" does. The exit status is 0 if all of
them hold, and 4 if one is broken, or you may not read all that it covers.`,
		Example: `  rollcall rule check
  rollcall rule check pay-min --linearizable`,
		ValidArgsFunction: a.completeRules(100),
		RunE: func(cmd *cobra.Command, names []string) error {
			for _, name := range names {
				if err := checkRuleName(name); err != nil {
					return err
				}
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list, err := c.ListRules(reading(ctx, options))
				if err != nil {
					return doing("check rules", err)
				}
				if err := chooseRules(list, names); err != nil {
					return err
				}
				printed := a.printRules(list)
				return errors.Join(printed, brokenRules(list.GetRules()))
			})
		},
	}
	flags = addReadFlags(cmd)
	return named(cmd)
}

// chooseRules leaves the rules of these names in list; without names all.
func chooseRules(list *rollcallv1.ListRulesResponse, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(list.GetRules(), func(r *rollcallv1.Rule) bool { return r.GetName() == name }) {
			return ruleMissing(name)
		}
	}
	list.Rules = slices.DeleteFunc(list.Rules, func(r *rollcallv1.Rule) bool { return !slices.Contains(names, r.GetName()) })
	return nil
}

// brokenRules is an error that names the rules that are broken, or of which this caller cannot know; nil if all hold.
func brokenRules(rules []*rollcallv1.Rule) error {
	var broken, hidden []string
	for _, r := range rules {
		switch {
		case !explain.Counted(r):
			hidden = append(hidden, format.Printable(r.GetName()))
		case explain.Spare(r) < 0:
			broken = append(broken, format.Printable(r.GetName()))
		}
	}
	switch {
	case len(broken) > 0:
		return notAsAsked(fmt.Errorf("broken: %s", strings.Join(broken, ", ")))
	case len(hidden) > 0:
		return withNext(notAsAsked(fmt.Errorf("not known: %s", strings.Join(hidden, ", "))), "this caller may not read all that the rules cover")
	}
	return nil
}
