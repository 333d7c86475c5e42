package apijson

import (
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Full names of the types that have a form of their own.
const (
	timestampName protoreflect.FullName = "google.protobuf.Timestamp"
	durationName  protoreflect.FullName = "google.protobuf.Duration"
	statusName    protoreflect.FullName = "grpc.health.v1.HealthCheckResponse.ServingStatus"
)

// FieldName returns the name of a field in JSON: that of the proto; of a duration with "_seconds" at its end.
func FieldName(fd protoreflect.FieldDescriptor) string {
	if m := fd.Message(); m != nil && m.FullName() == durationName {
		return string(fd.Name()) + secondsEnd
	}
	return string(fd.Name())
}

const secondsEnd = "_seconds"

// isHexadecimal reports whether the bytes of a field are written in hexadecimal, as the command line writes sums.
// Other bytes are base64.
func isHexadecimal(fd protoreflect.FieldDescriptor) bool {
	return strings.HasSuffix(string(fd.Name()), "_sha256")
}

// EnumName returns a value of an enum as the command line and JSON write it. Values whose names begin with the
// name of their enum lose that: EVENT_TYPE_MEMBER_CHANGED is "member-changed". Statuses stay as they are.
func EnumName(v protoreflect.EnumValueDescriptor) string {
	name := string(v.Name())
	short, ok := strings.CutPrefix(name, enumPrefix(v.Parent().Name()))
	if !ok {
		return name
	}
	return strings.ToLower(strings.ReplaceAll(short, "_", "-"))
}

// enumPrefix is what the values of an enum begin with by the rules of protos: EVENT_TYPE_ for EventType.
func enumPrefix(enum protoreflect.Name) string {
	var b strings.Builder
	for i, r := range string(enum) {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String()) + "_"
}

// Status reads a status in any case, with "-" or "_". "up" is SERVING, "down" is NOT_SERVING.
func Status(s string) (healthpb.HealthCheckResponse_ServingStatus, bool) {
	name := strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
	switch name {
	case "UP":
		return healthpb.HealthCheckResponse_SERVING, true
	case "DOWN":
		return healthpb.HealthCheckResponse_NOT_SERVING, true
	}
	n, ok := healthpb.HealthCheckResponse_ServingStatus_value[name]
	return healthpb.HealthCheckResponse_ServingStatus(n), ok
}
