package raftlogger

import (
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// message is how a message of raft is logged.
type message struct {
	level slog.Level
	text  string // "": raft's own
}

// known are the messages of raft v1.7.3 that do not mean what their level says, or not to a reader who does not
// know raft.
var known = map[string]message{
	// Who leads is logged by package node, with the members that cannot be reached.
	"entering follower state":                          {slog.LevelDebug, ""},
	"entering leader state":                            {slog.LevelDebug, ""},
	"entering candidate state":                         {slog.LevelDebug, ""},
	"Election timeout reached, restarting election":    {slog.LevelDebug, ""},
	"heartbeat timeout reached, starting election":     {slog.LevelWarn, "the leader has not been heard: this node stands for election"},
	"failed to contact":                                {slog.LevelWarn, "a member does not answer this leader"},
	"failed to contact quorum of nodes, stepping down": {slog.LevelWarn, "a majority of the members does not answer: this node stops leading"},
	"new leader elected, stepping down":                {slog.LevelInfo, "another node was elected: this node stops leading"},
	"peer has newer term, stopping replication":        {slog.LevelDebug, ""},
	"removed ourself, transitioning to follower":       {slog.LevelInfo, "this node is no member any more"},
	"no known peers, aborting election":                {slog.LevelDebug, ""}, // a member whose log is still empty

	// The peer port reports a member that cannot be reached.
	"failed to heartbeat to":                  {slog.LevelDebug, ""},
	"failed to appendEntries to":              {slog.LevelDebug, ""},
	"failed to pipeline appendEntries":        {slog.LevelDebug, ""},
	"failed to start pipeline replication to": {slog.LevelDebug, ""},
	"failed to make requestVote RPC":          {slog.LevelDebug, ""},
	"failed to decode incoming command":       {slog.LevelDebug, ""},
	"failed to flush response":                {slog.LevelDebug, ""},
	"failed to accept connection":             {slog.LevelDebug, ""}, // the peer port accepts; here it only closes

	// What a follower does whose log is empty or behind, and what a leader does about it.
	"appendEntries rejected, sending older logs": {slog.LevelDebug, ""},
	"previous log term mis-match":                {slog.LevelDebug, ""},
	"failed to get previous log":                 {slog.LevelDebug, ""},
	"clearing log suffix":                        {slog.LevelInfo, "log entries that were never committed are replaced by the leader's"},
	"Installed remote snapshot":                  {slog.LevelInfo, "the leader's snapshot was installed"},
	"installing snapshot on":                     {slog.LevelInfo, "a snapshot is sent to a member that is far behind"},
	"failed to install snapshot":                 {slog.LevelWarn, "a snapshot could not be installed; it is tried again"},
	"failed to send snapshot to":                 {slog.LevelWarn, "a snapshot could not be sent to a member; it is tried again"},

	// Raft's files. What is wrong with them follows; a node whose disk fails stops.
	"failed to append to logs":             {slog.LevelError, "log entries could not be stored"},
	"failed to commit logs":                {slog.LevelError, "log entries could not be stored"},
	"failed to clear log suffix":           {slog.LevelError, "log entries that were never committed could not be removed"},
	"failed to get log":                    {slog.LevelError, "a log entry could not be read"},
	"failed to get last log index":         {slog.LevelError, "the log could not be read"},
	"failed to persist vote":               {slog.LevelError, "a vote could not be stored"},
	"failed to get last vote term":         {slog.LevelError, "the last vote could not be read"},
	"failed to get last vote candidate":    {slog.LevelError, "the last vote could not be read"},
	"failed to take snapshot":              {slog.LevelError, "the log could not be compacted"},
	"failed to compact logs":               {slog.LevelError, "old log entries could not be removed"},
	"failed to remove old logs":            {slog.LevelError, "old log entries could not be removed"},
	"failed to reset logs":                 {slog.LevelError, "the log could not be replaced"},
	"failed to restore snapshot":           {slog.LevelError, "a snapshot could not be read"},
	"failed to list snapshots":             {slog.LevelError, "the snapshots could not be listed"},
	"failed to open snapshot":              {slog.LevelError, "a snapshot could not be opened"},
	"failed to create snapshot to install": {slog.LevelError, "the leader's snapshot could not be stored"},
	"failed to copy snapshot":              {slog.LevelError, "the leader's snapshot could not be stored"},
	"failed to receive whole snapshot":     {slog.LevelError, "the leader's snapshot did not come whole"},
	"failed to finalize snapshot":          {slog.LevelError, "the leader's snapshot could not be stored"},
	"failed to get log entry":              {slog.LevelWarn, "a log entry could not be read"},

	"rejecting vote request since our last index is greater":     {slog.LevelDebug, ""},
	"rejecting vote request since our last term is greater":      {slog.LevelDebug, ""},
	"rejecting vote request since we have a leader":              {slog.LevelDebug, ""},
	"rejecting pre-vote request since our last index is greater": {slog.LevelDebug, ""},
	"rejecting pre-vote request since our last term is greater":  {slog.LevelDebug, ""},
	"rejecting pre-vote request since we have a leader":          {slog.LevelDebug, ""},
}

// translate returns at which level, and in which words, a message is logged.
func translate(level hclog.Level, msg string, args []any) (slog.Level, string) {
	m, ok := known[msg]
	if !ok {
		m.level = levelOf(level)
	}
	if m.text == "" {
		m.text = msg
	}
	if msg == "heartbeat timeout reached, starting election" && firstElection(args) {
		return slog.LevelInfo, "no leader yet: this node stands for election"
	}
	return m.level, m.text
}

// firstElection reports whether this process has not heard of a leader so far: then an election is what
// follows a start.
func firstElection(args []any) bool {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "last-leader-id" {
			return fmt.Sprint(args[i+1]) == ""
		}
	}
	return false
}

func levelOf(level hclog.Level) slog.Level {
	switch level {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	case hclog.Trace:
		return slog.LevelDebug - 4
	}
	return slog.LevelDebug
}

// keys are raft's names for what has another name in the rest of the log.
var keys = map[string]string{
	"peer":           "member",
	"server-id":      "member",
	"last-leader-id": "was",
	"leader-id":      "leader",
	"time":           "for",
	"id":             "snapshot",
	"candidate":      "member",
}

// keyOf returns under which key a value of raft is logged, and whether it is. A member's address is its name.
func keyOf(name string) (key string, shown bool) {
	switch name {
	case "last-leader-addr", "leader-address":
		return "", false
	case slog.LevelKey, slog.MessageKey:
		return "raft_" + name, true
	}
	if key, ok := keys[name]; ok {
		return key, true
	}
	return name, true
}
