package limits

import (
	"strings"
	"testing"
	"unicode/utf8"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestPatterns(t *testing.T) {
	for _, p := range []string{
		"shop", "shop/cart", "shop/*", "shop.*", "shop/cart.eu/*", "*", "**", "rollcall", "rollcall/*", "a/*", "shop//*", "shop/..*",
		"größe/*", strings.Repeat("a", 254) + "/*", strings.Repeat("a", 256),
	} {
		if err := Pattern(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
		if err := RulePattern(p); (err != nil) != (p == "**") {
			t.Errorf("%q of a rule: %v", p, err)
		}
	}
	for p, want := range map[string]string{
		"":                              `is empty; give the name of a service, or a pattern such as "shop/*"`,
		"shop*":                         `"shop*" is not a pattern: it would cover "shopx", too; use "shop/*" or "shop.*"`,
		"*/x":                           `"*/x" is not a pattern: a '*' can stand only at the end`,
		"***":                           `"***" is not a pattern`,
		"/*":                            `"/*" is not a pattern`,
		".*":                            `".*" is not a pattern`,
		"**/*":                          `"**/*" is not a pattern`,
		"a/**":                          `"a/**" is not a pattern`,
		"a/*/*":                         `"a/*/*" is not a pattern`,
		"a*b/*":                         `"a*b/*" is not a pattern`,
		"rollcall.*":                    `"rollcall.*" begins with "rollcall."`,
		"rollcall.live":                 `"rollcall.live" begins with "rollcall."`,
		"rollcall.live/*":               `"rollcall.live/*" begins with "rollcall."`,
		"a b/*":                         `"a b/*": U+0020 at byte 2 is not allowed`,
		"a=b":                           `"a=b": '=' at byte 2 is not allowed`,
		"a\x00/*":                       `U+0000 at byte 2 is not allowed`,
		"\xff/*":                        "is not valid UTF-8",
		"o\u0308/*":                     "Normalization Form C",
		strings.Repeat("a", 255) + "/*": "is 257 bytes long; at most 256 are allowed",
	} {
		if err := Pattern(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", p, err, want)
		}
	}
}

func TestRuleNames(t *testing.T) {
	for _, name := range []string{"pay-min", "a", "größe", "shop/min", strings.Repeat("a", 64)} {
		if err := RuleName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "*", "a,b", "a b", "a=b", strings.Repeat("a", 65), "a\n", "\xff"} {
		if RuleName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

// FuzzPattern: what is a pattern covers only names that can be set, or is one.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"", "*", "**", "shop/*", "shop.*", "shop*", "/*", "rollcall.*", "a/\u0308*"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		err := Pattern(p)
		if err != nil {
			if err.Error() == "" {
				t.Error("no words")
			}
			return
		}
		if !utf8.ValidString(p) || len(p) > MaxPatternBytes || p == "" {
			t.Fatalf("%q is a pattern", p)
		}
		base := strings.TrimSuffix(strings.TrimSuffix(p, "/*"), ".*")
		if p != "*" && p != "**" && (strings.Contains(base, "*") || rollcallv1.IsOwn(base) || Name(base) != nil && !strings.HasSuffix(p, "*")) {
			t.Errorf("%q is a pattern", p)
		}
	})
}
