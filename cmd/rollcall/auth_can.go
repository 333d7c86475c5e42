package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// wholeVerbs are about the cluster, and not about services.
const wholeVerbs = access.Status | access.Cluster | access.Backup

func newAuthCanCommand(a *app) *cobra.Command {
	var (
		identity     string
		whenEnforced bool
	)
	cmd := &cobra.Command{
		Use:   "can VERB NAME",
		Short: "Ask whether an identity may do something, for scripts",
		Long: `Says whether you, or the --identity, may do VERB on NAME, and thanks to which grant. The exit status is 0
if it may, and 4 if it may not. While access is not enforced everybody may; --when-enforced asks what
the grants say instead.

NAME is the name of a service, or a pattern, which asks for all that it covers. VERB is one of:
  read      see services, their history and events
  report    set and delete services, grant and end leases
  override  set and clear overrides
  rules     set and remove rules, and break them
  auth      tokens and grants; with '*' also roles and whether access is enforced
  status    see the state of the cluster
  cluster   change the cluster
  backup    save snapshots
The last three are about the cluster as a whole: NAME is '*' and can be left out.

To ask about another identity needs the verb auth.`,
		Example: `  rollcall auth can report shop/cart --token-file ci.token
  rollcall auth can read 'shop/*' --identity cert:shop --when-enforced
  rollcall auth can backup`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := between(1, "VERB", "NAME")(cmd, args); err != nil {
				return patternArguments("VERB", "NAME")(cmd, args) // which says what a shell does
			}
			return nil
		},
		ValidArgsFunction: a.completeAuthCan,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := accessQuestion(args, identity)
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.CheckAccess(ctx, q)
				if err != nil {
					return doing("ask who may do that", err)
				}
				return a.printCan(resp, q, whenEnforced)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&identity, "identity", "", "`identity` to ask about, cert:NAME, token:NAME or anonymous (default: who you are)")
	f.BoolVar(&whenEnforced, "when-enforced", false, "answer what the grants say, also while access is not enforced")
	cliflag.FlagOnly(f, "identity", "when-enforced")
	cliflag.NotEmpty(f, "identity")
	a.completeFlag(cmd, "identity", a.completeFlagIdentity)
	return cmd
}

// accessQuestion is what the arguments of "auth can" ask.
func accessQuestion(args []string, identity string) (client.AccessQuestion, error) {
	q := client.AccessQuestion{Verb: args[0], Identity: identity}
	verb, ok := access.Verb(q.Verb)
	if !ok {
		return q, invalid("%q is no verb; use %s", q.Verb, format.Alternatives(access.All.Names()))
	}
	if len(args) > 1 {
		q.Service = args[1]
	}
	switch {
	case verb&wholeVerbs != 0 && (q.Service == "" || q.Service == "*"):
		q.Service = ""
	case verb&wholeVerbs != 0:
		return q, invalid("the verb %s is about the cluster as a whole, and not about %s; leave NAME out", q.Verb, format.Printable(q.Service))
	case q.Service == "":
		return q, invalid("NAME is missing: a service, or a pattern; '*' stands for all services")
	case q.Service == "*":
		q.Service = ""
	default:
		if err := checkPattern(q.Service); err != nil {
			return q, err
		}
	}
	if identity == "" || identity == limits.AnonymousIdentity {
		return q, nil
	}
	return q, checkIdentity(identity)
}

// checkIdentity refuses what no identity with grants can be.
func checkIdentity(identity string) error {
	if bad := limits.Identity(identity); bad != nil {
		return invalid("identity %w", bad)
	}
	return nil
}

// canJSON is the answer of "auth can": what the node says, and whether it may.
type canJSON struct {
	May      bool   `json:"may"`
	Verb     string `json:"verb"`
	Name     string `json:"name"`
	Identity string `json:"identity,omitempty"` // "": who called
	Why      string `json:"why"`
	Allowed  bool   `json:"allowed"` // what the grants say
	Enforced bool   `json:"enforced"`
	Revision int64  `json:"revision"`
	Cluster  string `json:"cluster_id"`
}

func (a *app) printCan(resp *rollcallv1.CheckAccessResponse, q client.AccessQuestion, whenEnforced bool) error {
	may := resp.GetAllowed() || !resp.GetEnforced() && !whenEnforced
	name := q.Service
	if name == "" {
		name = "*"
	}
	out := canJSON{may, q.Verb, name, q.Identity, resp.GetWhy(), resp.GetAllowed(), resp.GetEnforced(), resp.GetRevision(), resp.GetClusterId()}
	line := map[bool]string{true: "yes", false: "no"}[may]
	switch {
	case resp.GetEnforced() || whenEnforced:
		line += ": " + format.Printable(resp.GetWhy())
	case resp.GetAllowed():
		line += ": access is not enforced, so everybody may; the grants say so, too: " + format.Printable(resp.GetWhy())
	default:
		line += ": access is not enforced, so everybody may; the grants would not allow it: " + format.Printable(resp.GetWhy())
	}
	err := a.printObject(out, func() error {
		_, err := fmt.Fprintln(a.stdout, line)
		return err
	})
	if err != nil || may {
		return err
	}
	return notAsAsked(fmt.Errorf("%s may not %s", who(q.Identity), doOn(q.Verb, name)))
}

// who names an identity in a sentence.
func who(identity string) string {
	if identity == "" {
		return "this caller"
	}
	return format.Printable(identity)
}

// doOn says what is done to what: "report shop/cart", "save snapshots".
func doOn(verb, name string) string {
	switch verb {
	case "status":
		return "see the state of the cluster"
	case "cluster":
		return "change the cluster"
	case "backup":
		return "save snapshots"
	case "rules":
		verb = "set rules over"
	case "auth":
		verb = "give access to"
	}
	if name == "" || name == "*" {
		return verb + " everything"
	}
	return verb + " " + format.Printable(name)
}

// completeAuthCan offers a verb and then a pattern.
func (a *app) completeAuthCan(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		return access.All.Names(), cobra.ShellCompDirectiveNoFileComp
	case len(args) == 1 && !slices.Contains(wholeVerbs.Names(), args[0]):
		return a.patterns(cmd, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
