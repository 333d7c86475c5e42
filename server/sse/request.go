package sse

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	mediaType = "text/event-stream"
	// headerLastID is what a browser sends when it opens a stream again; paramLastID says the same in the URL.
	headerLastID = "Last-Event-ID"
	paramLastID  = "last_event_id"
)

// readRequest reads what is asked for into req. last is the id of the last event that its sender has; nil: it has none.
// The header goes before the URL: a browser opens a stream again with the same URL.
func readRequest(r *http.Request, req proto.Message) (last *eventID, err error) {
	if !accepts(r.Header.Values("Accept")) {
		return nil, rpcerror.Invalid(rpcerror.Violation{Field: "accept", Description: "does not take " + mediaType +
			", which is what a watch answers with; leave the header out, or send " + mediaType}).AsNotWritten()
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &apijson.Error{Field: "query", Message: "it is not of the form name=value&name=value; write other characters as %XX"}
	}
	given := query[paramLastID]
	delete(query, paramLastID)
	field := paramLastID
	if header := r.Header.Values(headerLastID); len(header) > 1 || len(header) == 1 && header[0] != "" {
		given, field = header, strings.ToLower(headerLastID)
	}
	if err := apijson.Query(query, req); err != nil {
		return nil, err
	}
	if len(given) > 1 {
		return nil, &apijson.Error{Field: field, Message: "it is given twice"}
	}
	if len(given) == 0 || given[0] == "" {
		return nil, nil
	}
	id, f := parseID(field, given[0])
	if f != nil {
		return nil, f.AsNotWritten()
	}
	return &id, nil
}

// accepts says whether who sends these Accept headers takes events.
func accepts(headers []string) bool {
	none := true
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if strings.TrimSpace(one) == "" {
				continue
			}
			none = false
			kind, parameters, err := mime.ParseMediaType(one)
			if err != nil || kind != mediaType && kind != "text/*" && kind != "*/*" {
				continue
			}
			if q, weighted := parameters["q"]; weighted {
				if weight, err := strconv.ParseFloat(q, 64); err != nil || weight == 0 {
					continue
				}
			}
			return true
		}
	}
	return none
}
