package config

import (
	"strings"
	"testing"
	"time"
)

// FuzzParse: no text makes Parse panic or run away; what it refuses has a place in the text, and what it accepts keeps
// the promises of Config.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "a", "\ufeff", "---\n", whole, everyKey, whole + "---\n" + whole, whole + "<<: *x\n", "ttl: &x [*x]\n", "? [a]\n: b\n", "%YAML 1.2\n--- !!map {a: |\n b\n...",
		"a:\n\tb", "{a: 'b\n\n c', \"d\\x\": ? }", "- - - -\n -", "a: >2-\n   b\n  c\n", check("http: {url: http://127.0.0.1/, expect: [200, {}], headers: {A: [b]}}"),
		check("command: {run: [x, ~, {a: b}], env: {A=B: c}}"), check("dns: {host: a, addresses: [~, [b]]}"), file("- name: a\n- name: a\n-\n- b\n"),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		cfg, err := Parse("agent.yaml", text, Options{})
		if err != nil {
			if cfg != nil {
				t.Error("a Config beside an error")
			}
			checkError(t, string(text), err)
			return
		}
		again, err := Parse("agent.yaml", text, Options{})
		if err != nil || cfg.NeedsRestart(again) != nil || len(cfg.Services) != len(again.Services) {
			t.Fatalf("the same text is not the same Config: %v", err)
		}
		if len(cfg.Endpoints) == 0 || len(cfg.Services) == 0 || cfg.TTL < time.Second || cfg.ForgetAfter < time.Second {
			t.Errorf("%+v", cfg)
		}
		for i := range cfg.Services {
			s := &cfg.Services[i]
			if !s.Equal(&again.Services[i]) || s.Name == "" || s.Instance == "" || len(s.Reported()) > 256 || i > 0 && strings.Compare(cfg.Services[i-1].Name, s.Name) >= 0 {
				t.Errorf("%+v", s)
			}
			for _, c := range s.Checks {
				if made := c.New(); c.Name == "" || made.Name() != c.Name || validate(made) != nil {
					t.Errorf("%+v: %v", c, validate(made))
				}
			}
		}
	})
}
