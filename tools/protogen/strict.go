package main

import (
	"fmt"
	"go/format"
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Generated decoders keep fields that they do not know and take any number for an enum. What nodes write
// and send must be read whole or not at all: see docs/decisions, "feature levels". strict rewrites the
// decoders of vtprotobuf so that both are errors, which costs nothing where all is known.

// openEnums are those whose values a table decides at run time.
var openEnums = map[string]bool{"Kind": true}

// openFields are fields of other enums that take any number: who acts on them refuses what is unknown, in
// words.
var openFields = map[string]bool{
	"Change.Status": true, // the fold's refusal is a result
	"Hello.Purpose": true, // a peer is told why
}

var (
	decoder = regexp.MustCompile(`(?m)^func \(m \*(\w+)\) UnmarshalVT\(`)
	// unknownField is the whole default case of a decoder.
	unknownField = regexp.MustCompile(`(?s)\t\tdefault:\n\t\t\tiNdEx = preIndex\n.*?m\.unknownFields = append\([^\n]*\n\t\t\tiNdEx \+= skippy\n`)
	// enumValue is the end of the loop that reads an enum.
	enumValue = regexp.MustCompile(`(m\.(\w+)|\bv) \|= ((?:\w+\.)?\w+)\(b&0x7F\) << shift\n\t+if b < 0x80 \{\n\t+break\n\t+\}\n\t+\}\n`)
	// preIndex is of no use without the default case.
	preIndex = regexp.MustCompile(`(?m)^\t\tpreIndex := iNdEx\n`)
)

// strict returns the code that vtprotobuf generated for file, made strict.
func strict(code string, file protoreflect.FileDescriptor) (string, error) {
	enums := map[string]protoreflect.EnumDescriptor{}
	collect(file, enums)
	messages := 0
	fields := 0
	count(file.Messages(), &messages, &fields, enums)

	// What is of another package has the errors of that package.
	prefix := ""
	if imported := regexp.MustCompile(`(?m)^\t(\w+) ".*/api/rollcall/log/v1"$`).FindStringSubmatch(code); imported != nil {
		prefix = imported[1] + "."
	}
	starts := decoder.FindAllStringSubmatchIndex(code, -1)
	var out strings.Builder
	done := 0
	replaced, checked := 0, 0
	for i, start := range starts {
		end := len(code)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		message := code[start[2]:start[3]]
		body := code[start[0]:end]
		replaced += len(unknownField.FindAllString(body, -1))
		body = unknownField.ReplaceAllString(body, fmt.Sprintf("\t\tdefault:\n\t\t\treturn %sUnknownField(%q, fieldNum)\n", prefix, message))
		body = preIndex.ReplaceAllString(body, "")
		body = enumValue.ReplaceAllStringFunc(body, func(read string) string {
			parts := enumValue.FindStringSubmatch(read)
			enum, ok := enums[parts[3]]
			if !ok || openFields[message+"."+parts[2]] {
				return read
			}
			checked++
			var known []string
			for i := range enum.Values().Len() {
				known = append(known, fmt.Sprint(enum.Values().Get(i).Number()))
			}
			return fmt.Sprintf("%sswitch %s {\ncase %s:\ndefault:\nreturn %sUnknownValue(%q, fieldNum, int32(%s))\n}\n",
				read, parts[1], strings.Join(known, ", "), prefix, message, parts[1])
		})
		out.WriteString(code[done:start[0]])
		out.WriteString(body)
		done = end
	}
	out.WriteString(code[done:])
	if replaced != messages || checked != fields {
		return "", fmt.Errorf("%s: %d decoders of %d and %d enum fields of %d were made strict: the generator has changed",
			file.Path(), replaced, messages, checked, fields)
	}
	formatted, err := format.Source([]byte(out.String()))
	return string(formatted), err
}

// collect names the closed enums of a file as the generated code does.
func collect(file protoreflect.FileDescriptor, enums map[string]protoreflect.EnumDescriptor) {
	add := func(all protoreflect.EnumDescriptors, prefix string) {
		for i := range all.Len() {
			if name := prefix + string(all.Get(i).Name()); !openEnums[name] {
				enums[name] = all.Get(i)
			}
		}
	}
	add(file.Enums(), "")
	var nested func(messages protoreflect.MessageDescriptors, prefix string)
	nested = func(messages protoreflect.MessageDescriptors, prefix string) {
		for i := range messages.Len() {
			m := messages.Get(i)
			add(m.Enums(), prefix+string(m.Name())+"_")
			nested(m.Messages(), prefix+string(m.Name())+"_")
		}
	}
	nested(file.Messages(), "")
}

// count counts the messages, and their fields of closed enums.
func count(all protoreflect.MessageDescriptors, messages, fields *int, enums map[string]protoreflect.EnumDescriptor) {
	closed := map[protoreflect.FullName]bool{}
	for _, e := range enums {
		closed[e.FullName()] = true
	}
	for i := range all.Len() {
		m := all.Get(i)
		*messages++
		for j := range m.Fields().Len() {
			e := m.Fields().Get(j).Enum()
			if e == nil || openEnums[string(e.Name())] || openFields[string(m.Name())+"."+goName(m.Fields().Get(j).Name())] {
				continue
			}
			if closed[e.FullName()] || e.ParentFile().Path() != m.ParentFile().Path() {
				*fields++
				if m.Fields().Get(j).IsList() {
					*fields++ // read in two places: packed and one by one
				}
			}
		}
		count(m.Messages(), messages, fields, enums)
	}
}

// goName is how a field is called in generated code.
func goName(field protoreflect.Name) string {
	var name strings.Builder
	for _, word := range strings.Split(string(field), "_") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}
