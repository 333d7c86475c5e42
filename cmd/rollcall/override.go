package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newOverrideCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "override set|clear|list",
		Short: "Show a status for services, whatever is reported of them",
		Long: `An override is what an operator says over what reporters say: as long as it lasts, all services that
its pattern covers are shown with its status, to Check, List and Watch alike. Reports go on beneath it,
and show again when it ends. An override never makes a service exist.

PATTERN is a name (that service), 'shop/*' or 'shop.*' (all whose names begin with "shop/" or "shop."),
'*' (all), or '**' (all, too: see "rollcall shutdown"). Of several that cover a service the one that
covers least decides; only '**' decides over all others. Quote patterns, or your shell takes them for
names of files.`,
		Example: `  rollcall override set 'shop/*' not_serving --reason "disk swap" --for 30m
  rollcall override clear 'shop/*'
  rollcall override list`,
	}, newOverrideSetCommand(a), newOverrideClearCommand(a), newOverrideListCommand(a))
}

// lifetime are the flags that say how long an override lasts.
type lifetime struct {
	ttl     time.Duration
	forever bool
}

func (l *lifetime) register(cmd *cobra.Command, end string) {
	f := cmd.Flags()
	cliflag.DurationVar(f, &l.ttl, "for", limits.DefaultOverrideTTL, "how long it lasts, 1s to 30d")
	f.BoolVar(&l.forever, "forever", false, "it lasts until "+end)
	// One variable for every override would be forgotten, and "wait --for" means something else.
	cliflag.FlagOnly(f, "for", "forever")
}

// option returns what client.WriteOptions.TTL is to be.
func (l *lifetime) option(cmd *cobra.Command) (time.Duration, error) {
	given := cmd.Flags().Changed("for")
	switch {
	case given && l.forever:
		return 0, invalid("--for and --forever exclude each other")
	case l.forever:
		return client.Forever, nil
	case given && (l.ttl < limits.MinOverrideTTL || l.ttl > limits.MaxOverrideTTL):
		return 0, invalid("--for is %s; it must be from 1s to 30d, or --forever", format.Duration(l.ttl))
	case given:
		return l.ttl, nil
	}
	return 0, nil
}

func newOverrideSetCommand(a *app) *cobra.Command {
	var (
		w        writeFlags
		lasts    lifetime
		dryRun   bool
		breaking breakGlass
	)
	cmd := &cobra.Command{
		Use:     "set PATTERN STATUS",
		Aliases: []string{"put"},
		Short:   "Set an override, or change the one of this pattern",
		Long: `Sets an override, or changes the one of this pattern. It ends by itself after an hour, or as --for
says. STATUS is serving, not_serving or unknown.

An override that would leave fewer services SERVING than a rule asks for is refused, and names the
rules; --break-glass names those that it may break. --dry-run lists the services whose status would
change, and changes nothing.`,
		Example: `  rollcall override set 'shop/*' not_serving --reason "disk swap" --for 30m
  rollcall override set shop/cart serving --reason "its probe is wrong" --forever
  rollcall override set 'shop/*' not_serving --dry-run
  rollcall override set 'pay/*' not_serving --break-glass pay-min --reason "ledger is corrupt"`,
		Args:              patternArguments("PATTERN", "STATUS"),
		ValidArgsFunction: a.completeOverrideSet,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPattern(args[0]); err != nil {
				return err
			}
			status, err := cliflag.ParseStatus(args[1])
			if err != nil {
				return invalid("%w", err)
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			if o.TTL, err = lasts.option(cmd); err != nil {
				return err
			}
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.setOverride(cmd, args[0], status, o, "set override "+args[0], describeOverrideSet)
		},
	}
	w.register(cmd)
	w.condition(cmd, "the override of this pattern")
	lasts.register(cmd, `it is cleared`)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the services whose status would change, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	breaking.register(a, cmd)
	return named(cmd)
}

// setOverride sets an override and says, as describe does, what became of it.
func (a *app) setOverride(cmd *cobra.Command, pattern string, s client.Status, o client.WriteOptions, what string,
	describe func(time.Time, *rollcallv1.SetOverrideResponse) string) error {
	return a.call(cmd, func(ctx context.Context, c *client.Client) error {
		resp, err := c.SetOverride(ctx, pattern, s, o)
		if err != nil {
			return doing(what, err)
		}
		return a.printWrite(resp, o.DryRun, func(w io.Writer) {
			if o.DryRun {
				writeAffected(w, resp.GetAffected(), resp.GetAffectedTotal(), resp.GetMatchedCount())
			} else {
				fmt.Fprintln(w, describe(a.now(), resp))
			}
			writeBroken(w, resp.GetBrokenRules(), o.BreakGlass, o.DryRun)
			if resp.GetMatchedCount() == 0 {
				writeInstances(ctx, w, c, pattern, s)
			}
		}, pattern)
	})
}

// writeInstances says that an override of a name covers none of its instances, if nobody reports the name and somebody
// reports them: an operator who means to switch a service off must not take this for done.
func writeInstances(ctx context.Context, w io.Writer, c *client.Client, name string, s client.Status) {
	if _, many := pattern.Prefix(name); many {
		return
	}
	n := 0
	for _, err := range c.List(ctx, client.ListOptions{Prefix: name + "/", PageSize: maxInstances}) {
		if err != nil || n == maxInstances {
			break
		}
		n++
	}
	if n > 0 {
		more := ""
		if n == maxInstances {
			more = "at least "
		}
		fmt.Fprintf(w, "! nobody reports %s itself, and its instances are not covered (%s%s); they are by: rollcall override set %s %s\n",
			format.Service(name), more, format.Count(n, "service", "services"), "'"+format.Printable(name)+"/*'", strings.ToLower(s.String()))
	}
}

// maxInstances bounds what is counted for a hint.
const maxInstances = 100

func describeOverrideSet(now time.Time, resp *rollcallv1.SetOverrideResponse) string {
	o := resp.GetOverride()
	line := fmt.Sprintf("override %s %s", format.Printable(o.GetPattern()), o.GetStatus())
	if !resp.GetChanged() {
		return fmt.Sprintf("%s already %s since revision %d; nothing changed", line, explain.Until(now, o), o.GetRevision())
	}
	return fmt.Sprintf("%s %s, revision %d; covers %s", line, explain.Until(now, o), resp.GetRevision(), services(resp.GetMatchedCount()))
}

func services(n int64) string {
	if n == 0 {
		return "no service yet"
	}
	return format.Count(int(n), "service", "services")
}

// writeAffected lists what a dry run would change.
func writeAffected(w io.Writer, affected []*rollcallv1.AffectedService, total, matched int64) {
	if len(affected) > 0 {
		format.Table(w, func(row func(...string)) {
			row("SERVICE", "NOW", "THEN")
			for _, s := range affected {
				row(format.Service(s.GetService()), s.GetBefore().String(), s.GetAfter().String())
			}
		})
	}
	if more := total - int64(len(affected)); more > 0 {
		fmt.Fprintf(w, "and %s more\n", format.Grouped(uint64(more)))
	}
	fmt.Fprintf(w, "%s of %s would change; dry run, nothing changed\n", format.Grouped(uint64(total)), format.Count(int(matched), "service", "services"))
}

// writeBroken says which rules were broken: because --break-glass allowed it, or by a report with a lease, which
// rules do not bind.
func writeBroken(w io.Writer, broken []*rollcallv1.BrokenRule, breakGlass []string, dryRun bool) {
	allowed := ""
	if len(breakGlass) > 0 {
		allowed = ", as --break-glass allows"
	}
	switch {
	case len(broken) == 0:
	case dryRun:
		fmt.Fprintf(w, "! it would break %s%s\n", explain.Broken(broken, "would serve"), allowed)
	default:
		fmt.Fprintf(w, "! it broke %s%s\n", explain.Broken(broken, "serve"), allowed)
	}
}

func newOverrideClearCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		dryRun       bool
		allowMissing bool
		breaking     breakGlass
	)
	cmd := &cobra.Command{
		Use:        "clear PATTERN",
		SuggestFor: []string{"remove", "delete", "rm", "unset"},
		Short:      "End an override: what is beneath it shows again",
		Long: `Ends the override of a pattern. The services that it covers show what is beneath it again: what is
reported of them, also what was reported meanwhile, or another override that covers them.

Ending an override that shows services as SERVING can break rules, and is refused then; see "rollcall
override set --help".`,
		Example: `  rollcall override clear 'shop/*' --reason "disk swapped"
  rollcall override clear shop/cart --dry-run`,
		Args:              patternArguments("PATTERN"),
		ValidArgsFunction: a.completeOverrides,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPattern(args[0]); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.ClearOverride(ctx, args[0], o)
				if err != nil {
					return doing("clear override "+args[0], err)
				}
				return a.printCleared(resp, args[0], o, fmt.Sprintf("override %s cleared", format.Printable(args[0])), fmt.Sprintf("there is no override %s", format.Printable(args[0])))
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the override of this pattern")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the services whose status would change, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "an override that does not exist is no error")
	breaking.register(a, cmd)
	return named(cmd)
}

// printCleared says what became of clearing an override.
func (a *app) printCleared(resp *rollcallv1.ClearOverrideResponse, pattern string, o client.WriteOptions, done, missing string) error {
	return a.printWrite(resp, o.DryRun, func(w io.Writer) {
		switch {
		case resp.GetOverride() == nil:
			fmt.Fprintf(w, "%s; nothing changed\n", missing)
		case o.DryRun:
			writeAffected(w, resp.GetAffected(), resp.GetAffectedTotal(), resp.GetMatchedCount())
		default:
			fmt.Fprintf(w, "%s, revision %d; covered %s\n", done, resp.GetRevision(), format.Count(int(resp.GetMatchedCount()), "service", "services"))
		}
		writeBroken(w, resp.GetBrokenRules(), o.BreakGlass, o.DryRun)
	}, pattern)
}

func newOverrideListCommand(a *app) *cobra.Command {
	var flags *readFlags
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the overrides that have not ended",
		Long: `Lists the overrides that have not ended, by pattern: since when each shows its status, until when it
lasts, who set it and why.`,
		Example: `  rollcall override list
  rollcall override list -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := flags.options()
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list := &rollcallv1.ListOverridesResponse{}
				for o, err := range c.ListOverrides(reading(ctx, options), client.ListOverridesOptions{AsOf: &list.Revision}) {
					if err != nil {
						return doing("list overrides", err)
					}
					list.Overrides = append(list.Overrides, o)
				}
				list.ClusterId = c.Cluster()
				return a.printOverrides(list)
			})
		},
	}
	flags = addReadFlags(cmd)
	return named(cmd)
}

// checkPattern refuses a pattern that no override can have, before anything is sent.
func checkPattern(p string) error {
	if bad := limits.Pattern(p); bad != nil {
		return invalid("pattern %w", bad)
	}
	return nil
}

// patternArguments requires arguments of which one is a pattern. Without quotes a shell makes several of it.
func patternArguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) && !strings.Contains(strings.Join(args, ""), "*") {
			return fmt.Errorf("%w: quote a pattern, as 'shop/*', or the shell takes it for names of files", tooMany(args[len(names)]))
		}
		return exactly(names...)(cmd, args)
	}
}
