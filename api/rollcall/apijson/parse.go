package apijson

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// parse reads the text of a field whose value is a text in JSON: of a string, an enum, a time, bytes, or of a number of
// 64 bits that stands in quotation marks. The error's text goes on after the field's name.
func parse(f *field, s string) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch f.kind {
	case protoreflect.StringKind:
		if !utf8.ValidString(s) { // of a query: JSON was looked at before
			return none, errors.New(shown(s) + " is not UTF-8")
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.EnumKind:
		return parseEnum(f, s)
	case protoreflect.BytesKind:
		return parseBytes(f, s)
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return parseNumber(f, s)
	case protoreflect.MessageKind:
		if f.fd.Message().FullName() == timestampName {
			return parseTime(s)
		}
	}
	return none, errors.New("must be " + wanted(f) + ", and not a text")
}

// parseNumber reads a number: whole, or of seconds.
func parseNumber(f *field, s string) (protoreflect.Value, error) {
	var (
		v   protoreflect.Value
		err error
	)
	switch f.kind {
	case protoreflect.Int32Kind:
		n, e := strconv.ParseInt(s, 10, 32)
		v, err = protoreflect.ValueOfInt32(int32(n)), e
	case protoreflect.Int64Kind:
		n, e := strconv.ParseInt(s, 10, 64)
		v, err = protoreflect.ValueOfInt64(n), e
	case protoreflect.Uint32Kind:
		n, e := strconv.ParseUint(s, 10, 32)
		v, err = protoreflect.ValueOfUint32(uint32(n)), e
	case protoreflect.Uint64Kind:
		n, e := strconv.ParseUint(s, 10, 64)
		v, err = protoreflect.ValueOfUint64(n), e
	case protoreflect.MessageKind:
		if f.fd.Message().FullName() == durationName {
			return parseSeconds(s)
		}
		fallthrough
	default:
		return v, errors.New("must be " + wanted(f) + ", and not a number")
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return v, errors.New(strings.Trim(shown(s), `"`) + " is too large or too small; write " + wanted(f))
	case err != nil:
		return v, errors.New(shown(s) + " is no whole number; write " + wanted(f))
	}
	return v, nil
}

// wanted says in words what a field takes.
func wanted(f *field) string {
	switch f.kind {
	case protoreflect.StringKind:
		return "a text"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.Int32Kind:
		return "a whole number from -2147483648 to 2147483647"
	case protoreflect.Int64Kind:
		return "a whole number from -9223372036854775808 to 9223372036854775807"
	case protoreflect.Uint32Kind:
		return "a whole number from 0 to 4294967295"
	case protoreflect.Uint64Kind:
		return "a whole number from 0 to 18446744073709551615"
	case protoreflect.EnumKind:
		return alternatives(enumNames(f))
	case protoreflect.BytesKind:
		if isHexadecimal(f.fd) {
			return "the bytes in hexadecimal, two digits for each"
		}
		return "the bytes in base64"
	case protoreflect.MessageKind:
		switch f.fd.Message().FullName() {
		case timestampName:
			return `a time as "2026-11-22T03:12:00Z"`
		case durationName:
			return "a number of seconds as 30 or 0.5"
		}
	}
	return "an object"
}

// enumNames are what can be written for an enum.
func enumNames(f *field) []string {
	if isStatus(f) {
		names := []string{"SERVING (or up)", "NOT_SERVING (or down)", "UNKNOWN", "SERVICE_UNKNOWN"}
		if isEnding(f) {
			names[3] += " (or delete)"
		}
		return names
	}
	values := f.fd.Enum().Values()
	var names []string
	for i := range values.Len() {
		if name := EnumName(values.Get(i)); name != unspecified {
			names = append(names, name)
		}
	}
	return names
}

func isStatus(f *field) bool { return f.fd.Enum().FullName() == statusName }

// isEnding reports whether a status is what reports turn to when their lease ends: the flags take "delete" there.
func isEnding(f *field) bool {
	return f.fd.FullName() == "rollcall.v1.GrantLeaseRequest.on_expiry" || f.fd.FullName() == "rollcall.v1.RevokeLeaseRequest.status"
}

func parseEnum(f *field, s string) (protoreflect.Value, error) {
	if isStatus(f) {
		if isEnding(f) && strings.EqualFold(s, "delete") {
			return protoreflect.ValueOfEnum(healthpb.HealthCheckResponse_SERVICE_UNKNOWN.Number()), nil
		}
		if status, ok := Status(s); ok {
			return protoreflect.ValueOfEnum(status.Number()), nil
		}
		return protoreflect.Value{}, errors.New(shown(s) + " is no status; write " + alternatives(enumNames(f)))
	}
	name := strings.ToLower(strings.ReplaceAll(s, "_", "-"))
	values := f.fd.Enum().Values()
	for i := range values.Len() {
		if v := values.Get(i); EnumName(v) == name {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
	}
	return protoreflect.Value{}, errors.New("there is no " + shown(s) + "; write " + alternatives(enumNames(f)))
}

func parseBytes(f *field, s string) (protoreflect.Value, error) {
	var (
		b   []byte
		err error
	)
	if isHexadecimal(f.fd) {
		b, err = hex.DecodeString(s)
	} else {
		b, err = base64.StdEncoding.Strict().DecodeString(s)
	}
	if err != nil {
		// What was sent may be a secret in place of its sum: it is not shown.
		return protoreflect.Value{}, errors.New("must be " + wanted(f))
	}
	return protoreflect.ValueOfBytes(b), nil
}

func parseTime(s string) (protoreflect.Value, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return protoreflect.Value{}, errors.New(shown(s) + ` is no time; write RFC 3339, as "2026-11-22T03:12:00Z"`)
	}
	return protoreflect.ValueOfMessage(timestamppb.New(t).ProtoReflect()), nil
}

// parseSeconds reads a number of seconds exactly, which float64 cannot. Digits after the ninth say less than a
// nanosecond, and are left out: programs that compute send them.
func parseSeconds(s string) (protoreflect.Value, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if !isDigits(whole) || point && !isDigits(fraction) {
		return protoreflect.Value{}, errors.New(shown(s) + " is no number of seconds; write it as 30 or 0.5")
	}
	nanoseconds, err := strconv.ParseUint(whole+(fraction + "000000000")[:9], 10, 64)
	if err != nil || nanoseconds > math.MaxInt64 {
		return protoreflect.Value{}, errors.New(shown(s) + " is too long: a duration is at most 9223372036 seconds")
	}
	d := time.Duration(nanoseconds)
	if negative {
		d = -d
	}
	return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
