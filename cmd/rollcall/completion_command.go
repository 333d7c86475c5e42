package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// newCompletionCommand stands for cobra's own, which takes an unknown shell for no error.
func newCompletionCommand(root *cobra.Command) *cobra.Command {
	shell := func(name, install string, generate func(io.Writer) error) *cobra.Command {
		return &cobra.Command{
			Use:     name,
			Short:   "Print the script for " + name,
			Long:    fmt.Sprintf("Prints the script that completes commands, flags and service names in %s.", name),
			Example: "  " + install,
			Args:    noArguments,
			RunE:    func(cmd *cobra.Command, _ []string) error { return generate(cmd.OutOrStdout()) },
		}
	}
	return grouping(&cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands in your shell",
		Long: `Prints a script for your shell. With it, the Tab key completes commands, flags, statuses and the names of
services. Service names come from the nodes in ROLLCALL_ENDPOINTS.`,
		Example: `  source <(rollcall completion bash)
  rollcall completion zsh > "${fpath[1]}/_rollcall"`,
	},
		shell("bash", "source <(rollcall completion bash)", func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }),
		shell("zsh", `rollcall completion zsh > "${fpath[1]}/_rollcall"`, root.GenZshCompletion),
		shell("fish", "rollcall completion fish | source", func(w io.Writer) error { return root.GenFishCompletion(w, true) }),
		shell("powershell", "rollcall completion powershell | Out-String | Invoke-Expression", root.GenPowerShellCompletionWithDesc))
}
