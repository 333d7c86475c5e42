package config

import (
	"strings"
	"testing"
)

const whole = `cluster: {endpoints: [127.0.0.1:7600]}
instance: 10.0.0.7:8080
listen: {http: 127.0.0.1:7612}
services: [{name: checkout}]
`

// TestNotADocument has texts that are no YAML, or more of it than a file may have.
func TestNotADocument(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                       {"", "agent.yaml:1:1: the file is empty; it needs cluster and services at least"},
		"comments only":                 {"# agent\n# soon\n", "agent.yaml:1:1: the file is empty"},
		"null":                          {"~\n", "agent.yaml:1:1: the file must be a mapping with keys; possible keys are cluster, "},
		"a word":                        {"checkout\n", "agent.yaml:1:1: the file must be a mapping"},
		"a list":                        {"- name: checkout\n", "agent.yaml:1:1: the file must be a mapping"},
		"header only":                   {"---\n", "agent.yaml:1:1: the file is empty"},
		"header only, no line feed":     {"---", "agent.yaml:1:1: the file is empty"},
		"header and a remark":           {"--- # agent\n", "agent.yaml:1:1: the file is empty"},
		"two empty documents":           {"---\n---\n", "agent.yaml:"},
		"second document":               {whole + "---\n" + whole, "agent.yaml:6:1: a second document begins here; a file has one"},
		"second document in comments":   {whole + "\n# next\n---\n# more\nttl: 5s\n", "agent.yaml:9:1: a second document begins here"},
		"empty second document":         {whole + "---\n", "agent.yaml:"},
		"document after the end":        {whole + "...\nttl: 5s\n", "agent.yaml:6:1: a second document begins here"},
		"broken second document":        {whole + "---\nttl: [\n", "agent.yaml:6:6: this is not YAML: "},
		"text after the header":         {"--- ttl: 5s\n" + whole, "agent.yaml:1:5: this is not YAML: "},
		"directive":                     {"%YAML 1.2\n---\n" + whole, "agent.yaml:1:1: a line that begins with % is a directive of YAML, which is not used here"},
		"unknown directive":             {"%FOO x\n---\n" + whole, "agent.yaml:1:1: a line that begins with % is a directive"},
		"tab as indentation":            {"cluster:\n\tendpoints: [a:1]\n", "agent.yaml:2:1: a tab stands where YAML has spaces; indent with spaces"},
		"tab after spaces":              {"cluster:\n  endpoints: [a:1]\n \tca: x\n", "agent.yaml:3:2: a tab stands where YAML has spaces"},
		"tab before a key":              {"\tttl: 5s\n", "agent.yaml:1:1: a tab stands where YAML has spaces"},
		"open list":                     {"ttl: 5s\ncluster: {endpoints: [a:1}\n", "agent.yaml:2:"},
		"open quote":                    {"ttl: \"5s\ninstance: x\n", "agent.yaml:1:6: this is not YAML: "},
		"two values":                    {"ttl: 5s: 6s\n", "agent.yaml:1:6: this is not YAML: a colon stands where none can"},
		"wrong indentation":             {"services:\n  - name: x\n   checks: []\n", "agent.yaml:3:4: this is not YAML: "},
		"value as deep as its key":      {"instance:\nx\n", "agent.yaml:2:1: this is not YAML: "},
		"reserved character":            {"instance: @x\n", "agent.yaml:1:11: this is not YAML: "},
		"closing brace":                 {"ttl: 5s\ninstance: }\n", "agent.yaml:2:1: this is not YAML: "},
		"wrong escape":                  {"instance: \"\\x\"\n", "agent.yaml:1:11: this is not YAML: an escape is wrong"},
		"not UTF-8":                     {"ttl: 5s\n# caf\xe9\n", "agent.yaml:2:6: the byte 0xe9 is not UTF-8; store the file as UTF-8"},
		"UTF-16":                        {"\xff\xfet\x00t\x00l\x00", "agent.yaml:1:1: the byte 0xff is not UTF-8"},
		"zero byte":                     {"ttl: 5s\x00\n", "agent.yaml:1:8: the character U+0000 is not allowed in the file"},
		"control character":             {"instance: \x1b[31m\n", "agent.yaml:1:11: the character U+001B is not allowed"},
		"line separator":                {"instance: a\u2028b\n", "agent.yaml:1:12: the character U+2028 is not allowed"},
		"next line":                     {"instance: a\u0085b\n", "agent.yaml:1:12: the character U+0085 is not allowed"},
		"carriage returns only":         {"ttl: 5s\rinstance: x\r", "agent.yaml:1:8: a carriage return stands here without a line feed"},
		"byte order mark in the middle": {"ttl: \ufeff5s\n", "agent.yaml:1:6: a byte order mark (U+FEFF) stands in the middle of the file"},
		"flow 20,000 deep":              {"ttl: " + strings.Repeat("[", 20_000), "agent.yaml:1:"},
		"entries 20,000 deep":           {strings.Repeat("- ", 20_000), "agent.yaml:1:"},
		"flow 100 deep":                 {"cluster: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "agent.yaml:1:10: cluster must be a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			err := refuse(t, c.text)
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s…", err, c.want)
			}
		})
	}
}

// TestSameFileInOtherForms has files that say the same.
func TestSameFileInOtherForms(t *testing.T) {
	want := accept(t, whole)
	for name, text := range map[string]string{
		"CRLF":              strings.ReplaceAll(whole, "\n", "\r\n"),
		"byte order mark":   "\ufeff" + whole,
		"header":            "---\n" + whole,
		"header and end":    "# agent\n---  # begin\n" + whole + "...\n",
		"no last line feed": strings.TrimSuffix(whole, "\n"),
		"block style":       "cluster:\n  endpoints:\n  - 127.0.0.1:7600\ninstance: '10.0.0.7:8080'\nlisten:\n    http: \"127.0.0.1:7612\"\nservices:\n- name: >-\n    checkout\n",
		"tabs after text":   strings.ReplaceAll(whole, "instance: 10.0.0.7:8080", "instance:\t10.0.0.7:8080\t# here"),
		"JSON":              `{"cluster":{"endpoints":["127.0.0.1:7600"]},"instance":"10.0.0.7:8080","listen":{"http":"127.0.0.1:7612"},"services":[{"name":"checkout"}]}`,
		"explicit keys":     "? instance\n: 10.0.0.7:8080\n" + strings.Replace(whole, "instance: 10.0.0.7:8080\n", "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got := accept(t, text)
			if keys := want.NeedsRestart(got); keys != nil || len(got.Services) != 1 || !got.Services[0].Equal(&want.Services[0]) {
				t.Errorf("got %+v\nwant %+v\n%v", got, want, keys)
			}
		})
	}
}

// TestLargeFileHasPlaces has a file as large as an agent may have, whose last line is no YAML.
func TestLargeFileHasPlaces(t *testing.T) {
	var b strings.Builder
	b.WriteString("cluster: {endpoints: [127.0.0.1:7600]}\ninstance: 10.0.0.7:8080\nservices:\n")
	for i := range 2000 {
		b.WriteString("- name: s" + strings.Repeat("x", i%7) + "\n  checks:\n  - tcp: {address: 127.0.0.1:1}\n    interval: 5s\n")
	}
	b.WriteString(" - name: last\n")
	err := refuse(t, b.String())
	if want := "agent.yaml:8004:2: this is not YAML: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %s\nwant %s…", err, want)
	}
}

func accept(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse("agent.yaml", []byte(text), Options{})
	if err != nil {
		t.Fatalf("refused:\n%v\n%s", err, text)
	}
	return cfg
}

// refuse returns the error of a text that must have one, with a place for each fault.
func refuse(t *testing.T, text string) error {
	t.Helper()
	cfg, err := Parse("agent.yaml", []byte(text), Options{})
	if err == nil || cfg != nil {
		t.Fatalf("accepted: %+v\n%s", cfg, text)
	}
	checkError(t, text, err)
	return err
}

// checkError tells whether an error has what Load promises.
func checkError(t *testing.T, text string, err error) {
	t.Helper()
	var all Errors
	switch e := err.(type) {
	case *Error:
		all = Errors{e}
	case Errors:
		all = e
		if len(e) < 2 || len(e) > maxFaults+1 {
			t.Errorf("%d errors", len(e))
		}
	default:
		t.Fatalf("an error of type %T: %v", err, err)
	}
	lines := strings.Count(text, "\n") + 1
	for i, e := range all {
		if e.File != "agent.yaml" || e.Text == "" || strings.ContainsAny(e.Text, "\n\r") || strings.Contains(e.Text, "%!") && !strings.Contains(text, "%!") {
			t.Errorf("%+v", e)
		}
		if e.Line == 0 && i == maxFaults {
			continue
		}
		if e.Line < 1 || e.Line > lines || e.Column < 1 {
			t.Errorf("a place out of the %d lines of the text: %+v", lines, e)
		}
		if strings.Count(e.Source, "\n") != 1 || !strings.HasSuffix(e.Source, "^") {
			t.Errorf("the source is %q", e.Source)
		}
	}
}
