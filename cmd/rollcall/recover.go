package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/node"
)

func newRecoverCommand(a *app) *cobra.Command {
	var (
		data            string
		opt             node.RecoverOptions
		members         cliflag.Members
		inspect, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "recover --data DIR | recover --inspect DIR...",
		Short: "Go on with one node when the quorum is lost for good",
		Long: `Makes a new cluster of one member from the data of a stopped node. It is for a cluster of which a majority
is lost and will not come back: then no member can be added, and none can write. While a majority is left,
or can be started again, use "rollcall member replace" instead.

--inspect comes first: it compares the data of all nodes that are left, changes nothing, and says which one
has most. Name the data of as many nodes as you can reach; copies will do.

The new cluster has all that the node has on disk: services, history, overrides, rules, leases, tokens,
roles and grants. Its revisions go on. It has another id, so that its nodes and those of the old cluster
refuse each other. The last entries of the raft log may never have been committed. They are kept, because
they may have been acknowledged; --committed-only leaves out what is not known to be committed.

The old directory is kept beside the new one, as DIR.before-recover-TIME. Whenever the command is cut off,
either the old directory is where it was or the new one is, whole. Run it again to have it put in order.
Once it is done, a second run is refused and changes nothing: the node is the only member that votes, and
can just be started. --force makes one more cluster of it.

Then start the node, and let the others join it on empty directories. Never start a node on an old
directory of this cluster again.`,
		Example: `  rollcall recover --inspect /mnt/n1 /mnt/n2
  rollcall recover --data /var/lib/rollcall --dry-run
  rollcall recover --data /var/lib/rollcall --member n1,host=10.0.0.7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if inspect {
				if cmd.Flags().Changed("data") && cliflag.Given(cmd.Flags(), "data") {
					return invalid("--inspect takes the directories as arguments, without --data")
				}
				return a.inspectSurvivors(args)
			}
			switch {
			case len(args) > 0:
				return noArguments(nil, args)
			case data == "":
				return withNext(invalid("recover needs --data"), `see "rollcall recover --help"`)
			}
			opt.Members, opt.DryRun = members, dryRun
			r, err := node.Recover(data, opt)
			if err != nil {
				return recoverFailure(err)
			}
			return a.printRecovered(r, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "`directory` of the stopped node's data")
	f.StringVar(&opt.Node, "node", "", "name of the node in the new cluster; without it, as before")
	f.Var(&members, "member", "addresses of the node, as for serve, if they have changed; those of other `member`s are not used")
	f.BoolVar(&opt.CommittedOnly, "committed-only", false, "leave out what is not known to be committed")
	f.StringVar(&opt.LogStore, "log-store", "", logStoreUsage)
	f.BoolVar(&opt.Force, "force", false, "also if nothing has to be recovered, as of the only member that votes")
	f.BoolVar(&inspect, "inspect", false, "only compare the data of nodes that are left")
	f.BoolVar(&dryRun, "dry-run", false, "only tell what would be done")
	cliflag.FlagOnly(f, "committed-only", "force", "inspect", "dry-run")
	a.complete(cmd, "log-store", node.LogStores()...)
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return cmd
}

// reasonNotNeeded: what was asked for was done already, or is of no use.
const reasonNotNeeded = "NOT_NEEDED"

// recoverFailure is the failure of a recovery: everything is as it was, or as the error says.
func recoverFailure(err error) *failure {
	if e, ok := errors.AsType[*node.NotNeededError](err); ok {
		return &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonNotNeeded, err: e, next: insteadOf(e)}
	}
	return survivorFailure(err, `stop the node first; while a majority of the members can run, nothing has to be recovered`)
}

// insteadOf says what to do if a recovery is not needed.
func insteadOf(e *node.NotNeededError) string {
	switch {
	case e.KeptFor != "":
		return fmt.Sprintf("start the node that is in %s; if that one is lost, or to recover in another way, move that away, and give this one its name back", e.KeptFor)
	case e.Recovered == nil:
		return "start it as before; --force makes a new cluster of it all the same"
	}
	next := "start it: " + serveCommand(e.Member, e.Data)
	if e.Kept != "" && !e.HasRun {
		next += fmt.Sprintf("; to recover in another way, move it away, rename %s to %s, and recover that", quoted(e.Kept), quoted(e.Data))
	}
	return next + "; --force makes one more cluster of it"
}

// recoveredReport is a recovery in JSON.
type recoveredReport struct {
	Data         string   `json:"data"`
	DryRun       bool     `json:"dry_run"`
	Node         string   `json:"node"`
	ClusterID    string   `json:"cluster_id"`
	DirectoryID  string   `json:"directory_id"`
	Revision     int64    `json:"revision"`
	OldClusterID string   `json:"old_cluster_id"`
	Index        uint64   `json:"index"`
	Term         uint64   `json:"term"`
	Kept         string   `json:"kept"`
	Next         []string `json:"next"`
	*uncertainReport
	Notes   []string `json:"notes"`
	Missing []string `json:"missing"`
}

func (a *app) printRecovered(r node.RecoveredCluster, opt node.RecoverOptions) error {
	report := recoveredReport{
		Data: r.Data, DryRun: opt.DryRun, Node: r.Member.Name, ClusterID: r.ClusterID, DirectoryID: r.Directory,
		Revision: r.From.Revision, OldClusterID: r.From.ClusterID, Index: r.From.Index, Term: r.From.Term, Kept: r.Kept,
		Next: nextCommands(r), Notes: []string{}, Missing: []string{},
	}
	if r.Survivor != nil {
		u := uncertainOf(r.Survivor, opt.CommittedOnly)
		report.uncertainReport, report.Notes, report.Missing = &u, plainAll(r.Survivor.Notes), plainAll(r.Survivor.Missing)
	}
	if opt.DryRun { // these would be others
		report.ClusterID, report.DirectoryID = "", ""
	} else {
		a.did = fmt.Sprintf("%s recovered in %s: cluster %s, revision %d", report.Node, report.Data, report.ClusterID, report.Revision)
	}
	err := a.printObject(report, func() error { return a.writeRecovered(report, othersOf(r)) })
	if r.Survivor != nil {
		err = errors.Join(err, missingFailure(r.Data, r.Survivor))
	}
	return err
}

func (a *app) writeRecovered(r recoveredReport, others string) error {
	var lines []string
	from := fmt.Sprintf("it was of cluster %s, and ends at log entry %d of term %d", shortID(r.OldClusterID), r.Index, r.Term)
	if r.DryRun {
		lines = append(lines, fmt.Sprintf("%s would be recovered in %s, at revision %d; %s", r.Node, r.Data, r.Revision, from))
	} else {
		lines = append(lines, a.did, from)
	}
	if r.uncertainReport != nil {
		lines = append(lines, r.say())
	} else if r.DryRun {
		lines = append(lines, "an earlier run has made all of it, and was cut off: run this without --dry-run, and it is put in order")
	} else {
		lines = append(lines, "an earlier run had made all of it, and was cut off; this one has put it in order")
	}
	switch {
	case r.DryRun:
		lines = append(lines, "the old directory would be kept beside it; dry run, nothing changed")
	case r.Kept == "":
		lines = append(lines, "the old directory is not beside it any more")
	default:
		lines = append(lines, "the old directory is kept as "+r.Kept)
		if sameDirectory(".", r.Kept) { // a shell follows its directory
			lines = append(lines, "! this shell is in the old directory now: leave it, with: cd "+quoted(r.Data))
		}
	}
	if _, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n")); err != nil {
		return err
	}
	if err := a.writeDamage(r.Notes, r.Missing); err != nil {
		return err
	}
	if r.DryRun {
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "\nStart it:\n  %s\nThen let the others join, one after the other, each on an EMPTY directory:\n  %s\n"+
		"Never start a node on an old directory of cluster %s again%s: it would serve the old registry.\n",
		r.Next[0], strings.Join(r.Next[1:], "\n  "), shortID(r.OldClusterID), others)
	return err
}

// othersOf names the members that are lost.
func othersOf(r node.RecoveredCluster) string {
	if r.Survivor == nil {
		return ""
	}
	var names []string
	for _, m := range r.Survivor.Members {
		if m.Name != r.Member.Name {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// nextCommands are what is to be run then: first on this node, then for another one.
func nextCommands(r node.RecoveredCluster) []string {
	m := r.Member
	other := "n2"
	if r.Survivor != nil {
		if i := slices.IndexFunc(r.Survivor.Members, func(o survivorMember) bool { return o.Name != m.Name }); i >= 0 {
			other = r.Survivor.Members[i].Name
		}
	}
	if other == m.Name {
		other = "n1"
	}
	return []string{
		serveCommand(m, r.Data),
		fmt.Sprintf("rollcall serve --node %s --data DIR --join %s --advertise-api HOST:7600 --advertise-peer HOST:7601", other, m.PeerAddress),
		fmt.Sprintf("rollcall member add %s --peer HOST:7601", other),
	}
}

// serveCommand starts the only member of a cluster.
func serveCommand(m node.Member, data string) string {
	return fmt.Sprintf("rollcall serve --node %s --data %s --member %s,api=%s,peer=%s", m.Name, quoted(data), m.Name,
		cmp.Or(m.APIAddress, "HOST:7600"), cmp.Or(m.PeerAddress, "HOST:7601"))
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	if strings.ContainsAny(path, " '\"$\\") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
