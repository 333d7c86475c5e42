package auditlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var at = time.Date(2026, 11, 29, 2, 40, 0, 123456789, time.FixedZone("", 3600))

func TestLine(t *testing.T) {
	e := Entry{
		Identity: "token:ci", OnBehalfOf: "ann@laptop", Peer: "10.0.0.7:4711", Method: "Admin.SetServingStatus",
		Names: []string{"shop/cart"}, Reason: "deploy 42", RequestID: "id-1", Outcome: Done, Revision: 17, Took: 1234567 * time.Nanosecond,
	}
	const want = `{"time":"2026-11-29T01:40:00.123456Z","node":"n1","identity":"token:ci","on_behalf_of":"ann@laptop","peer":"10.0.0.7:4711",` +
		`"method":"Admin.SetServingStatus","names":["shop/cart"],"reason":"deploy 42","request_id":"id-1","outcome":"done","revision":17,"took_seconds":0.001235}` + "\n"
	if got := string(e.append(nil, at, "n1")); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	e = Entry{Method: "Health.Watch", Outcome: Unauthenticated, Refusal: "TOKEN_REVOKED", Verb: "read"}
	const short = `{"time":"2026-11-29T01:40:00.123456Z","node":"n1","identity":"","method":"Health.Watch","outcome":"unauthenticated","refusal":"TOKEN_REVOKED","verb":"read","took_seconds":0.000000}` + "\n"
	if got := string(e.append(nil, at, "n1")); got != short {
		t.Errorf("got  %swant %s", got, short)
	}
}

func TestManyNamesAreCounted(t *testing.T) {
	var names []string
	for i := range MaxNames + 1 {
		names = append(names, fmt.Sprint("s", i))
	}
	for _, test := range []struct {
		names []string
		total int
		shown int
		said  string // names_total
	}{
		{names[:MaxNames], 0, MaxNames, ""},
		{names[:MaxNames], MaxNames, MaxNames, ""},
		{names[:MaxNames], 10_000, MaxNames, "10000"},
		{names, 0, MaxNames, "21"},
	} {
		e := Entry{Names: test.names, Total: test.total}
		var line struct {
			Names []string     `json:"names"`
			Total *json.Number `json:"names_total"`
		}
		if err := json.Unmarshal(e.append(nil, at, "n1"), &line); err != nil {
			t.Fatal(err)
		}
		said := ""
		if line.Total != nil {
			said = line.Total.String()
		}
		if len(line.Names) != test.shown || said != test.said {
			t.Errorf("%d names of %d: shows %d of %q", len(test.names), test.total, len(line.Names), said)
		}
	}
}

// TestTextsStayOneLine: whatever a text holds, what is read back shows all of it that can be shown.
func TestTextsStayOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                      `"plain"`,
		`"quoted" \ {"a":1}`:         `"\"quoted\" \\ {\"a\":1}"`,
		"two\nlines\r\t\x00\x1b[31m": `"two\u000alines\u000d\u0009\u0000\u001b[31m"`,
		"\x7f\u0085\u009b\u2028":     `"\u007f\u0085\u009b\u2028"`,
		"right\u202eleft":            `"right\u202eleft"`,
		"caf\u00e9 <&> \u65e5":       "\"caf\u00e9 <&> \u65e5\"",
		"bad \xff\xc3":               `"bad \ufffd\ufffd"`,
		"tag \U000e0001":             `"tag \udb40\udc01"`,
		"":                           `""`,
		strings.Repeat("x", 2000):    `"` + strings.Repeat("x", maxTextBytes) + `..."`,
		strings.Repeat("x", maxTextBytes-1) + "\u00e9y": `"` + strings.Repeat("x", maxTextBytes-1) + `..."`,
	} {
		if got := string(appendText(nil, text)); got != want {
			t.Errorf("%q is written %s, want %s", text, got, want)
		}
	}
}

const secret = "rct_0123456789abcdef_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq"

func TestNoSecretOfAToken(t *testing.T) {
	for text, want := range map[string]string{
		secret:                                 "rct_0123456789abcdef...",
		"a " + secret + " b " + secret:         "a rct_0123456789abcdef... b rct_0123456789abcdef...",
		"Bearer " + secret[:40]:                "Bearer rct_0123456789abcdef...",
		strings.Replace(secret, "_A", "-A", 1): "rct_0123456789abcdef...",
		"rct_" + secret:                        "rct_...",
		"rct_deploy":                           "rct_deploy",
		"direct_upload/of/many/files":          "direct_upload/of/many/files",
		"rct_":                                 "rct_",
	} {
		if got := withoutSecrets(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// FuzzLine: a line is one line of valid JSON, all of whose characters show.
func FuzzLine(f *testing.F) {
	f.Add("shop/cart", "why\n")
	f.Add("\xff\u2028", secret)
	f.Fuzz(func(t *testing.T, name, reason string) {
		e := Entry{Identity: name, OnBehalfOf: reason, Peer: name, Method: "Admin.X", Names: []string{name, reason}, Reason: reason, RequestID: name, Outcome: Refused, Refusal: reason}
		line := string(e.append(nil, at, "n1"))
		if !json.Valid([]byte(line)) || !utf8.ValidString(line) {
			t.Fatalf("%q is no JSON", line)
		}
		for i, r := range line {
			if !unicode.IsPrint(r) && (r != '\n' || i != len(line)-1) {
				t.Fatalf("%q holds %q", line, r)
			}
		}
		if strings.Contains(line, secret[22:]) {
			t.Fatalf("%q holds a secret", line)
		}
	})
}
