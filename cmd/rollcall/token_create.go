package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// toOutput, in the place of a file, is the standard output.
const toOutput = "-"

func newTokenCreateCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		grant  grantFlags
		token  client.NewToken
		out    string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:     "create NAME --role ROLE --on PATTERN --out FILE",
		Aliases: []string{"add"},
		Short:   "Make a token, and write it to a file that only you can read",
		Long: `Makes a token with a role over the services of patterns, and writes its text to FILE, which must not
exist, and which only you can read. "--out -" prints the text instead, and nothing else. Nobody can show
it again: the cluster keeps a hash. "rollcall grant add token:NAME" gives it more.

The file is written before the cluster is asked, and is removed if the cluster refuses. If the outcome is
unknown (exit status 5) it stays: the same command with the --request-id that is printed uses the token in
it again.`,
		Example: `  rollcall token create ci --role reporter --on 'shop/*' --ttl 90d --out ci.token
  rollcall token create admin --role admin --on '*' --out admin.token --reason "for the on-call"`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			token.Name = args[0]
			if err := checkNewToken(cmd, token); err != nil {
				return err
			}
			if err := grant.whole(); err != nil {
				return err
			}
			token.Grants = []*rollcallv1.Grant{{Role: grant.role, Patterns: grant.patterns}}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			file := newTokenFile{name: out, repeated: o.RequestID != ""}
			if err := file.check(dryRun); err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				if dryRun {
					return a.tryToken(ctx, c, token, o)
				}
				return a.createToken(ctx, c, token, o, &file)
			})
		},
	}
	w.identify(cmd)
	grant.register(a, cmd, "`role` of the token: viewer, reporter, operator, admin, or one of your own", "`patterns` of the services that the role is for, comma separated or repeated; '*': all", `added with "rollcall grant add token:NAME"`)
	f := cmd.Flags()
	cliflag.DurationVar(f, &token.TTL, "ttl", 0, "how long the token is valid, 1s to 3650d (default: until it is revoked)")
	f.Lookup("ttl").DefValue = ""
	f.StringVar(&token.Description, "description", "", "what the token is for; shown in lists, at most 256 bytes")
	f.StringVar(&out, "out", "", "`file` to write the token to, which must not exist; - prints it")
	f.BoolVar(&dryRun, "dry-run", false, "say whether it would be refused; make no token and no file")
	cliflag.FlagOnly(f, "ttl", "description", "out", "dry-run")
	cliflag.NotEmpty(f, "out")
	return named(cmd)
}

func checkNewToken(cmd *cobra.Command, t client.NewToken) error {
	if err := checkTokenName(t.Name); err != nil {
		return err
	}
	if bad := limits.Description(t.Description); t.Description != "" && bad != nil {
		return invalid("--description %w", bad)
	}
	if cmd.Flags().Changed("ttl") && (t.TTL < limits.MinTokenTTL || t.TTL > limits.MaxTokenTTL) {
		return invalid("--ttl is %s; it must be from %s to %s, or left out: then the token is valid until it is revoked", format.Duration(t.TTL), format.Duration(limits.MinTokenTTL), format.Duration(limits.MaxTokenTTL))
	}
	return nil
}

// tryToken says what would come of making a token.
func (a *app) tryToken(ctx context.Context, c *client.Client, t client.NewToken, o client.WriteOptions) error {
	_, resp, err := c.CreateToken(ctx, t, o)
	if err != nil {
		return &attempt{what: "create token " + t.Name, err: err, notFound: roleAdvice}
	}
	return a.printWrite(resp, true, func(w io.Writer) {
		fmt.Fprintf(w, "token %s could be created: %s; dry run, nothing changed\n", format.Printable(t.Name), explain.Grants(t.Grants))
	}, t.Name)
}

// createToken makes a token, whose text is in its file before the cluster knows of it.
func (a *app) createToken(ctx context.Context, c *client.Client, t client.NewToken, o client.WriteOptions, file *newTokenFile) error {
	secret, err := file.write()
	if err != nil {
		return err
	}
	t.Secret = secret
	_, resp, err := c.CreateToken(ctx, t, o)
	if err != nil {
		return a.tokenNotCreated(t.Name, err, file)
	}
	line := describeToken(a.now(), resp)
	if !file.printed() {
		line += fmt.Sprintf("; its text is in %s", file.name)
		return a.printWrite(resp, false, func(w io.Writer) { fmt.Fprintln(w, line) }, t.Name)
	}
	a.did = line + "; its text could not be shown, so revoke it and create another one"
	if a.forPrograms() {
		return a.print(tokenJSON{resp, secret.Text()}, nil, nil)
	}
	if err := a.write([]byte(secret.Text()+"\n"), nil); err != nil {
		return err
	}
	fmt.Fprintln(a.stderr, line)
	return nil
}

// tokenNotCreated is the failure of making a token. A token that surely is none leaves no file.
func (a *app) tokenNotCreated(name string, err error, file *newTokenFile) error {
	f := a.explain(&attempt{what: "create token " + name, err: err, notFound: roleAdvice})
	switch {
	case f.exit != exitUnknown:
		file.remove()
	case file.printed():
		f.next = fmt.Sprintf("nobody has its text, so if it was made it is of no use: \"rollcall token revoke %s --allow-missing\", and create it again", format.Printable(name))
	default:
		f.next += fmt.Sprintf("; the token in %s is used again then", file.name)
	}
	return f
}

func describeToken(now time.Time, resp *rollcallv1.CreateTokenResponse) string {
	t := resp.GetToken()
	line := fmt.Sprintf("token %s (id %s): %s", format.Printable(t.GetName()), format.Printable(t.GetId()), explain.Grants(t.GetGrants()))
	if t.GetExpireTime() == nil {
		line += ", until it is revoked"
	} else {
		line += ", until " + explain.Clock(now, t.GetExpireTime())
	}
	if !resp.GetChanged() {
		return line + fmt.Sprintf(", already since revision %d; nothing changed", t.GetRevision())
	}
	return line + fmt.Sprintf(", revision %d", resp.GetRevision())
}

// tokenJSON is the answer with the token's text.
type tokenJSON struct {
	resp *rollcallv1.CreateTokenResponse
	text string
}

func (t tokenJSON) MarshalJSON() ([]byte, error) {
	b, err := apijson.Message{Message: t.resp}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(t.text)
	return slices.Concat([]byte(`{"token_text":`), text, []byte(","), bytes.TrimPrefix(b, []byte("{"))), err
}

// newTokenFile is the file of a token that is being made; of toOutput, none.
type newTokenFile struct {
	name     string
	repeated bool // the file may hold the token of an earlier try
	found    bool // it does
}

func (f *newTokenFile) printed() bool { return f.name == toOutput }

// check refuses, before anything is asked, a file that cannot be made.
func (f *newTokenFile) check(dryRun bool) error {
	switch {
	case f.name == "" && !dryRun:
		return withNext(invalid("--out is missing: the file that the token is written to"), `"--out -" prints it`)
	case f.name == "" || f.printed():
		return nil
	case fileExists(f.name) && !f.repeated:
		return tokenFileThere(f.name)
	}
	if dir := filepath.Dir(f.name); !fileExists(dir) {
		return &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonDisk, err: fmt.Errorf("the directory %s does not exist", dir), next: "make it first"}
	}
	return nil
}

func tokenFileThere(name string) *failure {
	return &failure{exit: exitNotDone, code: codes.AlreadyExists, reason: reasonDisk, err: fmt.Errorf("%s is there already, and is not replaced", name), next: "move it away first, or name another file"}
}

// write makes a token and writes it to the file. It returns the token of the file if that is there from an earlier try.
func (f *newTokenFile) write() (accesstoken.Token, error) {
	if f.printed() {
		return accesstoken.New(), nil
	}
	if f.repeated && fileExists(f.name) {
		secret, err := readToken(f.name)
		if err != nil {
			return secret, withNext(invalid("%s is there already, and holds no token: %w", f.name, err), "move it away first, or name another file")
		}
		f.found = true
		return secret, nil
	}
	secret := accesstoken.New()
	err := writeToken(f.name, secret)
	switch {
	case errors.Is(err, fs.ErrExist):
		return secret, tokenFileThere(f.name)
	case err != nil:
		return secret, &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: fmt.Errorf("write the token: %w", err)}
	}
	return secret, nil
}

// remove removes the file if it was made.
func (f *newTokenFile) remove() {
	if !f.printed() && !f.found {
		os.Remove(f.name)
	}
}

// writeToken writes a token to a file that only its owner can read, whole or not at all. A file that is there stays.
func writeToken(name string, t accesstoken.Token) error {
	return vfs.WriteFile(name, false, func(f *os.File) error {
		_, err := io.WriteString(f, t.Text()+"\n")
		return err
	})
}

// readToken reads the token of a file.
func readToken(name string) (accesstoken.Token, error) {
	info, err := os.Stat(name)
	if err != nil {
		return accesstoken.Token{}, err
	}
	if !info.Mode().IsRegular() { // reading another kind may never end
		return accesstoken.Token{}, errors.New("it is no file with a text")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return accesstoken.Token{}, err
	}
	return accesstoken.Parse(strings.TrimSpace(string(b)))
}
