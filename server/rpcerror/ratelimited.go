package rpcerror

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// quotaWritesPerSecond is the subject of the QuotaFailure.
const quotaWritesPerSecond = "writes-per-second"

// RateLimited refuses a change of who, who may make perSecond of them in a second. wait is until it may.
func RateLimited(who string, perSecond int, wait time.Duration) *Failure {
	msg := fmt.Sprintf("not written: %s may make %d changes a second on this node (--writes-per-second); try again in %v",
		who, perSecond, max(wait.Round(time.Millisecond), time.Millisecond))
	return &Failure{
		Reason:  ReasonRateLimited,
		Message: msg,
		Meta:    map[string]string{MetaWritten: WrittenNo},
		Details: []protoadapt.MessageV1{
			&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)},
			&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: quotaWritesPerSecond, Description: msg}}},
		},
	}
}
