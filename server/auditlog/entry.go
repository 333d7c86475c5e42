package auditlog

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Outcome is what became of a call.
type Outcome string

const (
	Done            Outcome = "done"            // the change is made, or what it asks for was so already
	Refused         Outcome = "refused"         // surely nothing was written
	Denied          Outcome = "denied"          // the caller may not do it; surely nothing was written
	Unauthenticated Outcome = "unauthenticated" // the caller did not prove who it is; surely nothing was written
	Unknown         Outcome = "unknown"         // it may be written
)

// Entry is one line. Fields that are empty are left out, but for Identity.
type Entry struct {
	Identity   string // who the caller is: "anonymous", "cert:NAME", "token:NAME", "static:NAME"; "": a failed login
	OnBehalfOf string // what the caller gave as the actor
	Peer       string // the caller's address
	Method     string // "rollcall.v1.Admin/SetServingStatus"; of a write of a stream, that of the unary call which does the same
	Stream     bool   // it came over a stream of writes
	Names      []string
	Total      int // how many names there are, if Names does not hold all of them
	Reason     string
	RequestID  string
	Outcome    Outcome
	Refusal    string        // the reason of the error, "REVISION_MISMATCH"
	Verb       string        // that a denied caller lacks
	Revision   int64         // of the registry, with the change
	Took       time.Duration // from the complete request to the outcome
}

const (
	// MaxNames is the most names of a line.
	MaxNames = 20
	// maxTextBytes is the most bytes of a text, which the API's own limits keep to unless a call is refused for it.
	maxTextBytes = 1024
)

// append adds the line of e to b.
func (e *Entry) append(b []byte, at time.Time, node string) []byte {
	b = appendTime(b, at)
	b = appendField(b, "node", node)
	b = appendField(b, "identity", e.Identity)
	b = appendOptional(b, "on_behalf_of", e.OnBehalfOf)
	b = appendOptional(b, "peer", e.Peer)
	b = appendField(b, "method", e.Method)
	if e.Stream {
		b = append(b, `,"stream":true`...)
	}
	if len(e.Names) > 0 {
		shown := e.Names[:min(len(e.Names), MaxNames)]
		b = append(b, `,"names":[`...)
		for i, name := range shown {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, name)
		}
		b = append(b, ']')
		if total := max(e.Total, len(e.Names)); total > len(shown) {
			b = append(b, `,"names_total":`...)
			b = strconv.AppendInt(b, int64(total), 10)
		}
	}
	b = appendOptional(b, "reason", e.Reason)
	b = appendOptional(b, "request_id", e.RequestID)
	b = appendField(b, "outcome", string(e.Outcome))
	b = appendOptional(b, "refusal", e.Refusal)
	b = appendOptional(b, "verb", e.Verb)
	if e.Revision > 0 {
		b = append(b, `,"revision":`...)
		b = strconv.AppendInt(b, e.Revision, 10)
	}
	b = append(b, `,"took_seconds":`...)
	b = strconv.AppendFloat(b, e.Took.Seconds(), 'f', 6, 64)
	return append(b, "}\n"...)
}

// appendLost adds the line that says that lines are missing.
func appendLost(b []byte, at time.Time, node string, lost uint64, why string) []byte {
	b = appendTime(b, at)
	b = appendField(b, "node", node)
	b = append(b, `,"lost":`...)
	b = strconv.AppendUint(b, lost, 10)
	b = appendField(b, "why", why)
	return append(b, "}\n"...)
}

func appendTime(b []byte, at time.Time) []byte {
	b = append(b, `{"time":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	return append(b, '"')
}

func appendOptional(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	return appendField(b, key, text)
}

func appendField(b []byte, key, text string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	return appendText(b, text)
}

// appendText adds text as a JSON string in which every character shows: others are escaped, so that a line is one line,
// in a terminal too. It cuts what is too long, and takes out the secrets of tokens.
func appendText(b []byte, text string) []byte {
	text, cut := shorten(withoutSecrets(text))
	b = append(b, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf-1 && c != '"' && c != '\\' {
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', c)
		case r == utf8.RuneError && size == 1:
			b = append(b, `\ufffd`...)
		case unicode.IsPrint(r):
			b = append(b, text[i:i+size]...)
		case r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			b = appendEscape(appendEscape(b, high), low)
		default:
			b = appendEscape(b, r)
		}
		i += size
	}
	if cut {
		b = append(b, "..."...)
	}
	return append(b, '"')
}

func appendEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// shorten cuts a text that is too long, between characters.
func shorten(text string) (_ string, cut bool) {
	if len(text) <= maxTextBytes {
		return text, false
	}
	end := maxTextBytes
	for end > maxTextBytes-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], true
}

const (
	tokenPrefix = "rct_" // of the text of a token: rct_ID_SECRET
	tokenIDLen  = 16     // hex digits
	// A word with that many bytes after the prefix may be a token, also one that was damaged. A whole one has 60.
	minTokenBytes = 24
)

// withoutSecrets takes out what follows the id of a token: somebody may have written one where a name belongs.
func withoutSecrets(text string) string {
	if !strings.Contains(text, tokenPrefix) {
		return text
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, tokenPrefix)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString(tokenPrefix)
		word := after
		if end := strings.IndexFunc(after, unicode.IsSpace); end >= 0 {
			word = after[:end]
		}
		text = after[len(word):]
		if len(word) >= minTokenBytes {
			id := 0
			for id < tokenIDLen && strings.IndexByte("0123456789abcdef", word[id]) >= 0 {
				id++
			}
			word = word[:id] + "..."
		}
		out.WriteString(word)
	}
}
