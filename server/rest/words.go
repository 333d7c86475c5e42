package rest

import (
	"regexp"
	"strings"
)

// advice is what the sentences of refusals say that is to be done by the command line, and what does the same over HTTP.
// The sentences are not worded here: many come from the leader, whichever way the call came.
var advice = strings.NewReplacer(
	"show a token (--token-file) or a certificate (--cert and --key)", `send "Authorization: Bearer" and a token, or show a certificate`,
	"and show it (--token-file)", `and send it with "Authorization: Bearer"`,
	"with --force", `with the field "force"`,
	"(--replica)", `(the field "replica")`,
	"(rollcall member list)", "(GET /api/v1/cluster)",
	"see rollcall member list", "see GET /api/v1/cluster",
	"see rollcall status", "see GET /api/v1/cluster",
)

var (
	replaceCommand = regexp.MustCompile(`rollcall member replace ([^\s;,]+)(?: --peer [^\s;,]+)?`)
	addCommand     = regexp.MustCompile(`rollcall member add [^\s;,]+(?: --peer [^\s;,]+)?`)
)

// overHTTP is a sentence as its reader can follow it who calls the API over HTTP.
func overHTTP(sentence string) string {
	if !strings.Contains(sentence, "--") && !strings.Contains(sentence, "rollcall ") {
		return sentence
	}
	sentence = advice.Replace(sentence)
	sentence = replaceCommand.ReplaceAllString(sentence, "POST /api/v1/members/$1:replace")
	return addCommand.ReplaceAllLiteralString(sentence, "POST /api/v1/members")
}
