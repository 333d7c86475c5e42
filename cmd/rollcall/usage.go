package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// usageError makes one line of an error that was found before the command of args ran.
func usageError(cmd *cobra.Command, args []string, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if unknown, ok := unknownSubcommand(cmd.Root(), args); ok {
		return unknown
	}
	meant, plain := cliflag.FlagError(cmd.Flags(), err)
	f := invalid("%w", plain)
	f.next = fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
	if meant != "" {
		f.next = fmt.Sprintf("did you mean %s? %s", meant, f.next)
	}
	return f
}

// unknownSubcommand finds the command that does not exist, also where flags that it does not have follow.
func unknownSubcommand(root *cobra.Command, args []string) (*failure, bool) {
	group, rest, _ := root.Find(args) // its error is what is looked for
	if !group.HasAvailableSubCommands() {
		return nil, false
	}
	for i := 0; i < len(rest); i++ {
		switch arg := rest[i]; {
		case arg == "--":
			return nil, false
		case !strings.HasPrefix(arg, "-"):
			return unknownCommand(group, arg), true
		case !strings.Contains(arg, "=") && takesValue(group, arg):
			i++ // over its value
		}
	}
	return nil, false
}

func takesValue(cmd *cobra.Command, arg string) bool {
	f := cmd.Flag(strings.TrimLeft(arg, "-"))
	if f == nil && len(arg) == 2 {
		f = cmd.Flags().ShorthandLookup(arg[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}

// unknownCommand is the failure of a command line that names no command of group.
func unknownCommand(group *cobra.Command, name string) *failure {
	f := invalid("unknown command %q for %q", name, group.CommandPath())
	near := group.SuggestionsFor(name)
	slices.SortStableFunc(near, func(a, b string) int { return cmp.Compare(begin(b, name), begin(a, name)) })
	for i, n := range near {
		near[i] = fmt.Sprintf("%q", n)
	}
	var all []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, c.Name())
		}
	}
	switch {
	case len(near) > 0:
		f.next = fmt.Sprintf("did you mean %s? ", strings.Join(near, " or "))
	case group.HasParent():
		f.next = fmt.Sprintf("use %s; ", format.Alternatives(all))
	}
	f.next += fmt.Sprintf("see %q", group.CommandPath()+" --help")
	return f
}

// grouping makes cmd one that only holds other commands: alone it shows its help.
func grouping(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it sets only for its own search
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	cmd.AddCommand(commands...)
	return cmd
}

// doesNotApply is the annotation of a global flag that does nothing in a command.
const doesNotApply = "rollcall_does_not_apply"

// begin is how many bytes two names have in common from their begin on.
func begin(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// hideGlobal takes global flags out of the help of a command in which they do nothing. The command takes them
// all the same: they may stand in an alias for all commands.
func hideGlobal(cmd *cobra.Command, root *cobra.Command, names ...string) {
	for _, name := range names {
		hidden := *root.PersistentFlags().Lookup(name)
		hidden.Hidden = true
		hidden.Annotations = map[string][]string{doesNotApply: {"true"}}
		cmd.Flags().AddFlag(&hidden)
		cliflag.FlagOnly(cmd.Flags(), name)
	}
}

// checkFlags refuses what pflag takes and no command can use.
func checkFlags(cmd *cobra.Command) error {
	if name := cliflag.FirstEmpty(cmd.Flags()); name != "" {
		return invalid("--%s is empty; give it a value, or leave it out", name)
	}
	return nil
}
