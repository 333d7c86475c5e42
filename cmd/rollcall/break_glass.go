package main

import (
	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// breakGlass is the flag --break-glass: the rules that a change may break.
type breakGlass []string

func (b *breakGlass) register(a *app, cmd *cobra.Command) {
	cliflag.ListVarP(cmd.Flags(), (*[]string)(b), "break-glass", "", nil, "`rules` that it may break, by name, comma separated or repeated; '*': all. Needs --reason, and stands in the history")
	cliflag.NotEmpty(cmd.Flags(), "break-glass")
	// A variable would break every rule from then on, unseen.
	cliflag.FlagOnly(cmd.Flags(), "break-glass")
	a.completeFlag(cmd, "break-glass", a.completeFlagRule)
}

// option returns what client.WriteOptions.BreakGlass is to be, given the reason.
func (b breakGlass) option(reason string) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	for _, name := range b {
		if name == "*" {
			continue
		}
		if bad := limits.RuleName(name); bad != nil {
			return nil, invalid("--break-glass: rule name %w", bad)
		}
	}
	if reason == "" {
		return nil, withNext(invalid("--break-glass needs a --reason"), "it stands in the history for ever")
	}
	return b, nil
}
