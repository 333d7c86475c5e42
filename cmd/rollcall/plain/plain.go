package plain

import (
	"regexp"
	"strings"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// rules are applied one after the other, each wherever it matches.
var rules = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`rpc error: code = \w+ desc = `), ""},
	// The API's words for what has a flag.
	{regexp.MustCompile(`\brollcall-consistency linearizable\b`), "--linearizable"},
	{regexp.MustCompile(`\brollcall-(min-revision|max-staleness|require-leader|cluster)\b`), "--$1"},
	{regexp.MustCompile(`\bif_revision\b`), "--if-revision"},
	{regexp.MustCompile(`\brequest_id ("|U\+|is )`), `--request-id $1`},
	{regexp.MustCompile(`^(cannot .*?: )(reason|actor) (U\+|is )`), `$1--$2 $3`},
	{regexp.MustCompile(`\bat\.revision\b`), "--at"},
	{regexp.MustCompile(`\bat\.time\b`), "--at"},
	// Ports.
	{regexp.MustCompile(`listen tcp[46]? (\S+): bind: address already in use`), "the address $1 is in use by another process"},
	{regexp.MustCompile(`listen tcp[46]? (\S+): bind: cannot assign requested address`), "$1 is no address of this machine"},
	{regexp.MustCompile(`listen tcp[46]? (\S+): bind: permission denied`), "$1 is a port that only a privileged user may serve on"},
	{regexp.MustCompile(`listen tcp[46]?: lookup (\S+?)(?: on \S+)?: .*`), "the host $1 is not known"},
	{regexp.MustCompile(`listen tcp[46]? (\S+): (?:bind: )?`), "cannot serve on $1: "},
	{regexp.MustCompile(`dial tcp[46]?: lookup (\S+?)(?: on \S+)?: .*`), "the host $1 is not known"},
	{regexp.MustCompile(`dial tcp[46]? (\S+): (?:connect: )?`), "$1: "},
	{regexp.MustCompile(`(?:read|write) tcp[46]? (\S+->)?(\S+): (?:read: |write: )?`), "$2: "},
	// Formats.
	{regexp.MustCompile(`invalid character .*? (?:looking for beginning of|after|in) [a-z:" ]*`), "it is no valid JSON "},
	{regexp.MustCompile(`unexpected end of JSON input`), "it is no valid JSON"},
	{regexp.MustCompile(`json: cannot unmarshal .*`), "it is no valid JSON of this kind"},
	{regexp.MustCompile(`proto:[\s\x{a0}].*`), "it cannot be decoded"},
	{regexp.MustCompile(`strconv\.\w+: parsing ("(?:[^"\\]|\\.)*"): value out of range`), "$1 is too large"},
	{regexp.MustCompile(`strconv\.\w+: parsing ("(?:[^"\\]|\\.)*"): invalid syntax`), "$1 is no number"},
	{regexp.MustCompile(`time: missing unit in duration ("(?:[^"\\]|\\.)*")`), "$1 has no unit"},
	{regexp.MustCompile(`time: (?:invalid|unknown unit .*? in) duration ("(?:[^"\\]|\\.)*")`), "$1 is no duration"},
	{regexp.MustCompile(`parsing time ("(?:[^"\\]|\\.)*").*`), "$1 is no time"},
	{regexp.MustCompile(`encoding/hex: .*`), "it is not hexadecimal"},
	{regexp.MustCompile(`file size too small \d+`), "the file is cut short"},
	{regexp.MustCompile(`(^|: )(?:unexpected )?EOF\b`), "${1}it ends too early"},
	{regexp.MustCompile(`x509: .*`), "the certificate is not accepted"},
	// Files.
	{regexp.MustCompile(`\b(?:mkdir|mkdirat) (\S+): `), "cannot make the directory $1: "},
	{regexp.MustCompile(`\b(?:open|openat) (\S+): `), "cannot open $1: "},
	{regexp.MustCompile(`\b(read|write|rename|remove|truncate) (/\S+|\S*[./]\S*): `), "cannot $1 $2: "},
	{regexp.MustCompile(`\b(?:fallocate|ftruncate) (\S+): `), "there is no room for $1: "},
	{regexp.MustCompile(`\b(?:fsync|sync) (\S+): `), "cannot store $1: "},
	{regexp.MustCompile(`\b(?:stat|lstat|fstat|readdirent|fdopendir|getdents) (\S+): `), "cannot read $1: "},
	{regexp.MustCompile(`\b(?:unlink|unlinkat) (\S+): `), "cannot remove $1: "},
	{regexp.MustCompile(`^read (\S+): is a directory`), "$1 is a directory"},
	{regexp.MustCompile(`(cannot \w+ \S+): invalid argument`), "$1: no file can have that name"},
	{regexp.MustCompile(`cannot cannot`), "cannot"},
	// Times.
	{regexp.MustCompile(`context deadline exceeded(?:: context deadline exceeded)*`), "no answer in time"},
	{regexp.MustCompile(`context canceled(?:: context canceled)*`), "interrupted"},
	{regexp.MustCompile(`\b(\d+h)0m0s\b`), "$1"},
	{regexp.MustCompile(`\b(\d+m)0s\b`), "$1"},
}

// ofConnections are marks of what only gRPC says.
var ofConnections = regexp.MustCompile(`connection error: desc = ".*"|name resolver error: [a-z ]*|error reading server preface: .*|error reading from server: .*|invalid target address .*`)

// Text returns message in plain words.
func Text(message string) string {
	message = ofConnections.ReplaceAllStringFunc(message, connfailure.Text)
	for _, r := range rules {
		message = r.find.ReplaceAllString(message, r.put)
	}
	return strings.TrimRight(message, " ")
}
