package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	goccy "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"go.yaml.in/yaml/v3"
)

// This file reads the text of a file as YAML, one document of it.
//
// Two libraries work here. yaml/v3 says what the text means: it keeps the place of each value, and it takes a text for
// what the YAML specification takes it for; goccy reads [127.0.0.1:7600] as a mapping. But of a text that is no YAML
// yaml/v3 knows the line at best, and often another one. For such a text goccy finds the place.

var bom = []byte("\ufeff")

// document returns the one document of a text.
func document(text []byte) (*yaml.Node, *Error) {
	if e := checkCharacters(text); e != nil {
		return nil, e
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	first, err := next(d)
	switch {
	case errors.Is(err, io.EOF):
		return nil, place{1, 1}.errorf(empty)
	case err != nil:
		return nil, notYAML(text, err)
	}
	if isNull(first) && first.Value == "" {
		first = nil
	}
	second, err := next(d)
	switch {
	case errors.Is(err, io.EOF) && first != nil:
		return first, nil
	case errors.Is(err, io.EOF):
		return nil, place{1, 1}.errorf(empty)
	case err != nil:
		return nil, notYAML(text, err)
	}
	return nil, place{second.Line, second.Column}.errorf(secondDocument)
}

// next returns what the next document holds. Its error is io.EOF when there is none.
func next(d *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if recover() != nil { // a defect of the library; the text comes from outside
			n, err = nil, errors.New("it cannot be read")
		}
	}()
	var doc yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("it is no document")
	}
	return doc.Content[0], nil
}

// checkCharacters says which character a text may not have.
func checkCharacters(text []byte) *Error {
	p := place{1, 1}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return p.errorf("the byte 0x%02x is not UTF-8; store the file as UTF-8", text[i])
		case r == '\ufeff' && i > 0:
			return p.errorf("a byte order mark (U+FEFF) stands in the middle of the file; only its beginning may have one")
		case r == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return p.errorf("a carriage return stands here without a line feed; lines end with a line feed")
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0, r == '\u2028', r == '\u2029':
			return p.errorf("the character U+%04X is not allowed in the file", r)
		}
		switch {
		case r == '\n':
			p = place{p.line + 1, 1}
		case r != '\ufeff':
			p.column++
		}
		i += size
	}
	return nil
}

// An error of yaml/v3 is "yaml: line 2: did not find expected key". Without a line it is of line 1.
var errorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// plainWords are what messages of yaml/v3 mean.
var plainWords = []struct{ begins, means string }{
	{"mapping values are not allowed", "a colon stands where none can; a text that has a colon and a space needs quotes"},
	{"block sequence entries are not allowed", "an entry of a list begins where none can; begin it on a line of its own"},
	{"found character that cannot start any token", "this character cannot begin a value; put the value into quotes"},
	{"found unexpected end of stream", "a quote is not closed"},
	{"found unexpected document indicator", "a quote is not closed"},
	{"found unknown escape character", `an escape is wrong; in double quotes a backslash is written \\`},
	{"did not find expected hexdecimal number", `an escape is wrong; in double quotes a backslash is written \\`},
	{"found invalid Unicode character escape code", `an escape is wrong; in double quotes a backslash is written \\`},
	{"could not find expected ':'", "a key has no colon after it"},
	{"did not find expected key", "a key of this mapping is indented otherwise than the first one, or text stands after a value"},
	{"did not find expected '-' indicator", "this line does not belong to the list; it is indented otherwise than its entries"},
	{"did not find expected ',' or ']'", "a list that begins with [ is not closed, or a comma is missing"},
	{"did not find expected ',' or '}'", "a mapping that begins with { is not closed, or a comma is missing"},
	{"did not find expected node content", "a value is missing, or a bracket, brace or comma stands where none can"},
	{"exceeded max depth", "lists and mappings lie too deep in each other"},
}

// notYAML says where a text is no YAML. err is the error of yaml/v3.
func notYAML(text []byte, err error) *Error {
	m := errorLine.FindStringSubmatch(err.Error())
	why, p := err.Error(), place{1, 1}
	lines := strings.Split(string(text), "\n")
	if m != nil {
		why = why[len(m[0]):]
		p.line, _ = strconv.Atoi(m[1]) // "" is 0
		if strings.HasPrefix(why, "did not find expected") && !strings.HasSuffix(why, "number") {
			p.line++ // the library's parser counts from 0, its scanner from 1
		}
		p.line = min(max(p.line, 1), len(lines))
	}
	p.column = 1 + len(indentation(lines[p.line-1]))
	if strings.Contains(why, "expected <document start>") {
		return p.errorf(secondDocument)
	}
	if name, unknown := strings.CutPrefix(why, "unknown anchor '"); unknown {
		name, _, _ = strings.Cut(name, "'")
		if at, ok := aliasIn(text, name); ok {
			p = at
		}
		return p.errorf(noAlias, name)
	}
	if at, what, ok := locate(text); ok && at.line >= 1 && at.line <= len(lines) && at.column >= 1 {
		p, why = at, words(why, what)
	} else {
		why = words(why, why)
	}
	line := lines[p.line-1]
	if tab := strings.IndexByte(indentation(line), '\t'); tab >= 0 {
		return place{p.line, tab + 1}.errorf("a tab stands where YAML has spaces; indent with spaces")
	}
	if strings.HasPrefix(line, "%") {
		return place{p.line, 1}.errorf("a line that begins with %% is a directive of YAML, which is not used here")
	}
	return p.errorf("this is not YAML: %s", why)
}

// aliasIn returns the first place of an alias.
func aliasIn(text []byte, name string) (at place, ok bool) {
	if len(text) > maxLocated {
		return at, false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	for _, t := range lexer.Tokenize(string(bytes.TrimPrefix(text, bom))) {
		if t.Type == token.AliasType && t.Position != nil && t.Next != nil && t.Next.Value == name {
			return place{t.Position.Line, t.Position.Column}, true
		}
	}
	return at, false
}

const (
	empty          = "the file is empty; it needs cluster and services at least"
	secondDocument = "a second document begins here; a file has one"
)

// words returns what a message means, or other if it is not among the plainWords.
func words(message, other string) string {
	for _, w := range plainWords {
		if strings.HasPrefix(message, w.begins) {
			return w.means
		}
	}
	return other
}

func indentation(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// maxLocated bounds the texts in which a place is looked for, in bytes: goccy needs seconds for a MiB of brackets.
const maxLocated = 4 << 20

// locate asks goccy's parser where a text is no YAML. It has no answer if that parser accepts the text.
func locate(text []byte) (at place, why string, ok bool) {
	if len(text) > maxLocated {
		return at, "", false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	tokens := lexer.Tokenize(string(bytes.TrimPrefix(text, bom)))
	if deep(tokens) {
		return at, "", false
	}
	_, err := parser.Parse(tokens, 0)
	var e goccy.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return at, "", false
	}
	why, _, _ = strings.Cut(e.GetMessage(), "\n")
	return place{e.GetToken().Position.Line, e.GetToken().Position.Column}, why, why != ""
}

// deep reports whether goccy's parser could go deeper into a text than a stack should: it calls itself for each level
// and for each key of a block mapping.
func deep(tokens token.Tokens) bool {
	const maxLevels, maxKeys = 500, 2000
	type level struct{ column, keys int }
	var open []level
	flow, line := 0, 0
	for _, t := range tokens {
		if t.Position == nil {
			return true
		}
		column := t.Position.Column
		if t.Type == token.MappingValueType && t.Prev != nil && t.Prev.Position != nil {
			column = t.Prev.Position.Column // of the key
		}
		for t.Position.Line != line && len(open) > 0 && open[len(open)-1].column > column {
			open = open[:len(open)-1]
		}
		line = t.Position.Line
		keys := 0
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.MappingValueType:
			keys = 1
			fallthrough
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			if len(open) == 0 || open[len(open)-1].column < column {
				open = append(open, level{column: column})
			}
			open[len(open)-1].keys += keys
		}
		if flow > maxLevels || len(open) > maxLevels || len(open) > 0 && open[len(open)-1].keys > maxKeys {
			return true
		}
	}
	return false
}
