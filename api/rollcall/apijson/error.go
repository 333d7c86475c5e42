package apijson

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Error says what is wrong with a request.
type Error struct {
	Field   string // as "changes[3].status", or a query parameter; "": the whole request
	Message string // what is wrong with it, and what to write instead
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// shown returns a text of the request for an error: quoted, and not long.
func shown(s string) string {
	const most = 60
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut] + "…")
}

// under returns the path of a field of the object at path.
func under(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// alternatives returns "a, b or c".
func alternatives(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// unknown says that an object, or a query, has no field of this name.
func unknown(d protoreflect.MessageDescriptor, path, name string, names []string) *Error {
	e := &Error{Field: under(path, strings.Trim(shown(name), `"`))}
	f, found := formOf(d).index[name+secondsEnd]
	switch {
	case found && formOf(d).fields[f].json == name+secondsEnd:
		e.Message = "there is no such field; write " + name + secondsEnd + ", a number of seconds"
	case len(names) == 0:
		e.Message = "there is no such field: nothing can be given here"
	default:
		e.Message = "there is no such field; there is " + strings.Join(names, ", ")
	}
	return e
}
