package openapi

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// comment returns what the proto says of d, before it and on its line, as paragraphs.
func comment(d protoreflect.Descriptor) string {
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	var parts []string
	for _, c := range []string{at.LeadingComments, at.TrailingComments} {
		if text := paragraphs(c); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

var paragraph = regexp.MustCompile(`\n\s*\n`)

// paragraphs joins the lines of each paragraph.
func paragraphs(c string) string {
	var all []string
	for _, p := range paragraph.Split(strings.TrimSpace(c), -1) {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, "\n\n")
}

// sentence makes a description of a note: "as a service's" becomes "As a service's."
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if first := text[0]; 'a' <= first && first <= 'z' && !startsWithName.MatchString(text) {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "…") {
		text += "."
	}
	return text
}

// startsWithName is a text that begins with the name of a field or a file, which keeps its case.
var startsWithName = regexp.MustCompile(`^[a-z]+(_[a-z]+|[:/])`)

// summary splits a text behind its first sentence.
func summary(text string) (string, string) {
	for i := 0; i+2 < len(text); i++ {
		if text[i] == '.' && text[i+1] == ' ' && (text[i+2] < 'a' || text[i+2] > 'z') || text[i:i+2] == "\n\n" {
			return strings.TrimSpace(text[:i+1]), strings.TrimSpace(text[i+1:])
		}
	}
	return text, ""
}

// enumName is how an enum's value is written: apijson.EnumName.
func enumName(v protoreflect.EnumValueDescriptor) string {
	var prefix strings.Builder
	for i, r := range string(v.Parent().Name()) {
		if i > 0 && r >= 'A' && r <= 'Z' {
			prefix.WriteByte('_')
		}
		prefix.WriteRune(r)
	}
	short, ok := strings.CutPrefix(string(v.Name()), strings.ToUpper(prefix.String())+"_")
	if !ok {
		return string(v.Name())
	}
	return strings.ToLower(strings.ReplaceAll(short, "_", "-"))
}
