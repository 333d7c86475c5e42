package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newTokenGenerateCommand(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "generate --out FILE",
		Short: "Make a token that no cluster knows, for --admin-token-file of a node",
		Long: `Makes a token without a cluster, and writes its text to FILE, which must not exist, and which only you can
read. "--out -" prints the text instead. It asks no node and needs no network.

No cluster knows the token, so it is nobody's until a node is started with --admin-token-file: whoever
shows it may do everything through that node. This is the way back in when no administrator is left. The
node needs FILE, or another file that holds only the SHA-256 that is printed, which is no secret.`,
		Example: `  rollcall token generate --out rescue.token
  rollcall serve … --admin-token-file rescue.token
  rollcall whoami --token-file rescue.token`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			file := newTokenFile{name: out}
			if err := file.check(false); err != nil {
				return err
			}
			return a.generateToken(&file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "`file` to write the token to, which must not exist; - prints it")
	cliflag.FlagOnly(f, "out")
	cliflag.NotEmpty(f, "out")
	return cmd
}

// generatedJSON is a token that no cluster knows.
type generatedJSON struct {
	Text   string `json:"token_text,omitempty"` // only if it is in no file
	ID     string `json:"id"`
	SHA256 string `json:"secret_sha256"`
	File   string `json:"file,omitempty"`
}

func (a *app) generateToken(file *newTokenFile) error {
	secret, err := file.write()
	if err != nil {
		return err
	}
	sum := secret.SHA256()
	made := generatedJSON{ID: secret.ID(), SHA256: hex.EncodeToString(sum[:])}
	line := fmt.Sprintf("token made (id %s); the SHA-256 of its secret is %s", made.ID, made.SHA256)
	next := "no cluster knows it; next: start one node with --admin-token-file, and call that node with --token-file"
	if file.printed() {
		made.Text = secret.Text()
		a.did = "a token was made, and could not be shown; make another one"
	} else {
		made.File = file.name
		line += fmt.Sprintf("; its text is in %s", format.Printable(file.name))
		a.did = fmt.Sprintf("a token was made; its text is in %s", format.Printable(file.name))
	}
	return a.printObject(made, func() error {
		if !file.printed() {
			_, err := fmt.Fprintf(a.stdout, "%s\n%s\n", line, next)
			return err
		}
		if err := a.write([]byte(made.Text+"\n"), nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stderr, "%s\n%s\n", line, next)
		return err
	})
}
