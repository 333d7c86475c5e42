package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Age returns how long before now t is, in one unit; "-" if t is unset.
func Age(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return OneUnit(now.Sub(t.AsTime()))
}

// Ago is Age with the word "ago"; "-" if t is unset.
func Ago(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return Age(now, t) + " ago"
}

// OneUnit returns d in its largest unit. Less than a second, and less than nothing (two clocks can differ
// a little), is "0s".
func OneUnit(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	}
	return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
}

// TwoUnits returns d in its two largest units.
func TwoUnits(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return d.Truncate(time.Millisecond).String()
	case d < time.Minute:
		return d.Truncate(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// ThreeDigits returns d rounded to three digits: 1.23ms.
func ThreeDigits(d time.Duration) string {
	step := time.Duration(1)
	for d/step >= 1000 {
		step *= 10
	}
	return d.Round(step).String()
}

// Duration returns d exactly, in a form that flags read: 30d, 1d12h, 10m, 1m30s. Nothing is "0".
func Duration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d < 0 {
		if d == math.MinInt64 {
			return d.String()
		}
		return "-" + Duration(-d)
	}
	const day = 24 * time.Hour
	text := ""
	if days := d / day; days > 0 {
		text = strconv.FormatInt(int64(days), 10) + "d"
		if d %= day; d == 0 {
			return text
		}
	}
	rest := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(rest, zero) {
			rest = rest[:len(rest)-2]
		}
	}
	return text + strings.TrimPrefix(rest, "0h")
}

// UTC returns t as RFC 3339 in UTC, with all its digits.
func UTC(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Timestamp is UTC of an API time.
func Timestamp(t *timestamppb.Timestamp) string { return UTC(t.AsTime()) }

// Local returns t in a zone, in a form that time flags read.
func Local(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("2006-01-02 15:04:05.000")
}
