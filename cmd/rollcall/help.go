package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelpCommand stands for cobra's own, which takes a command that does not exist for no error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show how a command is used",
		Long:  `Shows what a command does, its flags and examples. "rollcall COMMAND --help" shows the same.`,
		Example: `  rollcall help set
  rollcall help snapshot restore`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, c := range target.Commands() {
				if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), toComplete) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, _ := cmd.Root().Find(args) // its error is that of rest
			switch {
			case len(rest) > 0 && target.HasAvailableSubCommands():
				return unknownCommand(target, rest[0])
			case len(rest) > 0:
				return tooMany(rest[0])
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}
