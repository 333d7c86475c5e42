package server

import (
	"net"
	"strconv"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func validateAddMember(req *rollcallv1.AddMemberRequest) error {
	var vs violations
	vs.memberName("name", req.GetName())
	vs.peerAddress("peer_address", req.GetPeerAddress())
	vs.common(req)
	return vs.err()
}

func validateRemoveMember(req *rollcallv1.RemoveMemberRequest) error {
	var vs violations
	vs.memberName("name", req.GetName())
	vs.common(req)
	return vs.err()
}

func validateReplaceMember(req *rollcallv1.ReplaceMemberRequest) error {
	var vs violations
	vs.memberName("name", req.GetName())
	if req.GetPeerAddress() != "" {
		vs.peerAddress("peer_address", req.GetPeerAddress())
	}
	vs.common(req)
	return vs.err()
}

func validatePromoteMember(req *rollcallv1.PromoteMemberRequest) error {
	var vs violations
	vs.memberName("name", req.GetName())
	vs.common(req)
	return vs.err()
}

func validateTransfer(req *rollcallv1.TransferLeadershipRequest) error {
	var vs violations
	if req.GetTo() != "" {
		vs.memberName("to", req.GetTo())
	}
	return vs.err()
}

func (vs *violations) memberName(field, name string) {
	switch {
	case name == "":
		vs.add(field, "is required")
	case !limits.NodeName(name):
		vs.add(field, "is %s, which no node is called; use %s", rpcerror.QuoteShort(name), limits.NodeNameRule)
	}
}

// peerAddress checks where other nodes are to reach a node.
func (vs *violations) peerAddress(field, address string) {
	if problem := addressProblem(address); problem != "" {
		vs.add(field, "%s", problem)
	}
}

// addressProblem says why other machines cannot dial an address, as far as its text tells; "": nothing speaks against it.
func addressProblem(address string) string {
	shown := rpcerror.QuoteShort(address)
	if address == "" {
		return "is required: host:port, where other nodes reach the node's peer port"
	}
	if bad := limits.Address(address); bad != nil {
		return bad.Error()
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case strings.Contains(address, "://"):
		return "is " + shown + "; give host:port, without a scheme"
	case err != nil && strings.Count(address, ":") > 1 && !strings.Contains(address, "["):
		return "is " + shown + ", which is not host:port; an IPv6 address stands in brackets, as [::1]:7601"
	case err != nil:
		return "is " + shown + ", which is not host:port"
	case host == "":
		return "is " + shown + ", which names no host"
	case strings.ContainsAny(host, "/ ,@?#\\\"'"):
		return "is " + shown + ", whose host is no name and no IP address"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "is " + shown + ", whose port is not a number from 1 to 65535"
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return "is " + shown + ", where a node can listen but nobody can reach it; give the address of its machine"
	}
	return ""
}
