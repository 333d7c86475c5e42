package format

import (
	"strings"
	"testing"
)

// TestYAMLStrings: a text is a text to readers of YAML 1.1 and 1.2.
func TestYAMLStrings(t *testing.T) {
	for _, text := range []string{
		"yes", "No", "on", "OFF", "y", "N", "true", "null", "~", "", "12:30", "1:20:30", "+1:20.5", "1_000", "010", "0x1f", "1e3",
		"2026-01-02", "<<", "=", "- a", "a: b", "#", "[", "&a", "*", "!x", "%", "@", "`", "'", `"`, " a", "a ", "?",
	} {
		b, err := YAML(map[string]string{"a": text})
		if value := strings.TrimPrefix(strings.TrimSpace(string(b)), "a: "); err != nil || !strings.ContainsAny(value[:1], `"'`) {
			t.Errorf("%q is written as %s, %v; want it in quotes", text, value, err)
		}
	}
	for _, text := range []string{"shop/cart", "SERVING", "deployed 1.4.2", "n1", "10.0.0.1:7600"} {
		b, err := YAML(map[string]string{"a": text})
		if want := "a: " + text + "\n"; err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
	}
}
