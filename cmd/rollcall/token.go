package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newTokenCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "token create|revoke|list|generate",
		Short: "Make and revoke tokens, with which programs say who they are",
		Long: `A token says who calls, for programs that have no certificate: commands send the one in --token-file. Its
identity is "token:" and its name. Its text is made here and is shown once; the cluster keeps a hash, so
nobody can read it out again. Who has the text is the token: keep it as a password.`,
		Example: `  rollcall token create ci --role reporter --on 'shop/*' --ttl 90d --out ci.token
  rollcall token list
  rollcall token revoke ci --reason "it was in a log"`,
	}, newTokenCreateCommand(a), newTokenRevokeCommand(a), newTokenListCommand(a), newTokenGenerateCommand(a))
}

func checkTokenName(name string) error {
	if bad := limits.TokenName(name); bad != nil {
		return invalid("token name %w", bad)
	}
	return nil
}

func newTokenRevokeCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		id           string
		dryRun       bool
		allowMissing bool
	)
	cmd := &cobra.Command{
		Use:        "revoke NAME | --id ID",
		Aliases:    []string{"remove", "rm"},
		SuggestFor: []string{"delete", "del"},
		Short:      "Revoke a token",
		Long: `Deletes a token and its grants. From the revision that is printed on it changes nothing, and its watches
end within a second on every node. --id names it by its id, which stands in its text after "rct_".`,
		Example: `  rollcall token revoke ci --reason "it was in a log"
  rollcall token revoke --id 0123456789abcdef`,
		Args:              between(0, "NAME"),
		ValidArgsFunction: a.completeTokens(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := "token " + id
			switch {
			case len(args) == 0 && id == "":
				return invalid("NAME is missing; --id names a token by its id")
			case len(args) > 0 && id != "":
				return invalid("NAME and --id name two tokens; give one of them")
			case id != "":
				if err := checkTokenID(id); err != nil {
					return err
				}
			default:
				if err := checkTokenName(args[0]); err != nil {
					return err
				}
				what = "token " + args[0]
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				var resp *rollcallv1.RevokeTokenResponse
				var err error
				if id != "" {
					resp, err = c.RevokeTokenID(ctx, id, o)
				} else {
					resp, err = c.RevokeToken(ctx, args[0], o)
				}
				if err != nil {
					return &attempt{what: "revoke " + what, err: err, notFound: tokenAdvice}
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) {
					fmt.Fprintln(w, describeRemoval(what, "revoked", resp.GetRevision(), dryRun, allowMissing))
				}, args...)
			})
		},
	}
	w.identify(cmd)
	f := cmd.Flags()
	f.StringVar(&id, "id", "", "`id` of the token, 16 hexadecimal digits, in place of its name")
	f.BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	f.BoolVar(&allowMissing, "allow-missing", false, "a token that does not exist is no error")
	cliflag.FlagOnly(f, "id", "dry-run")
	cliflag.NotEmpty(f, "id")
	return named(cmd)
}

// checkTokenID refuses what is no id of a token. What is given may be a token's whole text, and is not repeated.
func checkTokenID(id string) error {
	if _, err := hex.DecodeString(id); err != nil || len(id) != accesstoken.IDLength {
		return withNext(invalid("--id is no id of a token: one has 16 hexadecimal digits"), `"rollcall token list" shows the ids`)
	}
	return nil
}

func newTokenListCommand(a *app) *cobra.Command {
	return named(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the tokens, and what each may do",
		Long: `Lists the tokens by name: their ids, what they may do, when they expire, who made them and why. No list
shows the text of a token.`,
		Example: `  rollcall token list
  rollcall token list -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list := &rollcallv1.ListTokensResponse{}
				for t, err := range c.ListTokens(ctx, client.ListTokensOptions{AsOf: &list.Revision}) {
					if err != nil {
						return doing("list tokens", err)
					}
					list.Tokens = append(list.Tokens, t)
				}
				list.ClusterId = c.Cluster()
				return a.printTokens(list)
			})
		},
	})
}

func (a *app) printTokens(list *rollcallv1.ListTokensResponse) error {
	names := make([]string, len(list.GetTokens()))
	for i, t := range list.GetTokens() {
		names[i] = t.GetName()
	}
	return a.printMessage(list, names, func() error {
		if len(names) == 0 {
			fmt.Fprintln(a.stderr, `there are no tokens; "rollcall token create" makes one`)
			return nil
		}
		return newGrid(a, tokenColumns).write(list.GetTokens())
	})
}

var tokenColumns = []column[*rollcallv1.Token]{
	{header: "TOKEN", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(t.GetName()) }},
	{header: "ID", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(t.GetId()) }},
	{header: "MAY", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(explain.Grants(t.GetGrants())) }},
	{header: "EXPIRES", cell: func(v view, t *rollcallv1.Token) format.Cell {
		end := t.GetExpireTime()
		return format.Cell{Text: explain.Expiry(v.now, end), Tone: toneIf(end != nil && !end.AsTime().After(v.now), format.Bad)}
	}},
	{header: "REVISION", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(fmt.Sprint(t.GetRevision())) }},
	{header: "TIME", wide: true, cell: func(v view, t *rollcallv1.Token) format.Cell { return text(v.timeOrDash(t.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(explain.ActorOrDash(t.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, t *rollcallv1.Token) format.Cell {
		return text(format.OrDash(t.GetActor().GetPeer()))
	}},
	{header: "DESCRIPTION", cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(format.OrDash(t.GetDescription())) }},
	{header: "REASON", wide: true, cell: func(_ view, t *rollcallv1.Token) format.Cell { return text(format.OrDash(t.GetReason())) }},
}
