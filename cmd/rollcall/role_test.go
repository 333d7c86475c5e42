package main

import "testing"

func TestRoleSetAndRemove(t *testing.T) {
	_, run := shop(t)
	run("role", "set", "deployer", "read", "report", "--dry-run").want(t, 0, "role deployer may read, report; dry run, nothing changed\n", "")
	run("role", "set", "deployer", "read", "report").want(t, 0, "role deployer may read, report, revision 5\n", "")
	run("role", "set", "deployer", "read", "report").want(t, 0, "role deployer may read, report, already since revision 5; nothing changed\n", "")
	run("role", "set", "deployer", "read", "--reason", "less", "--if-revision", "5").want(t, 0, "role deployer may read, revision 6\n", "")
	run("role", "set", "deployer", "read", "report", "--if-revision", "5").want(t, 1, "", "rollcall: cannot set role deployer: its revision is 6, and --if-revision asks for another; look at it again before you repeat that\n")
	run("role", "list").want(t, 0, ""+
		"ROLE      MAY                                                           REVISION  ACTOR                REASON\n"+
		"viewer    read, status                                                  built in  -                    -\n"+
		"reporter  read, report                                                  built in  -                    -\n"+
		"operator  read, report, override, rules, status, backup                 built in  -                    -\n"+
		"admin     read, report, override, rules, auth, status, cluster, backup  built in  -                    -\n"+
		"deployer  read                                                          6         token:admin for ann  less\n", "")
	run("role", "list", "-o", "name").want(t, 0, "viewer\nreporter\noperator\nadmin\ndeployer\n", "")
	run("role", "remove", "deployer", "--dry-run").want(t, 0, "role deployer would be removed; dry run, nothing changed\n", "")
	run("role", "remove", "deployer").want(t, 0, "role deployer removed, revision 7\n", "")
	run("role", "remove", "deployer").want(t, 1, "", "rollcall: cannot remove role deployer: role \"deployer\" does not exist; \"rollcall role list\" shows the roles\n")
	run("role", "remove", "deployer", "--allow-missing").want(t, 0, "role deployer does not exist any more, revision 8\n", "")
	for _, line := range [][]string{{"set", "admin", "read"}, {"remove", "admin"}} {
		run(append([]string{"role"}, line...)...).want(t, 1, "", "rollcall: the role admin is built in and does not change; set one with another name\n")
	}
	run("role", "set", "a", "write").want(t, 1, "", "rollcall: \"write\" is no verb; use read, report, override, rules, auth, status, cluster or backup\n")
	run("role", "set", "a", "read", "read").want(t, 1, "", "rollcall: the verb read is given twice\n")
	run("role", "set", "a").want(t, 1, "", "rollcall: VERB is missing: one or more of read, report, override, rules, auth, status, cluster, backup; see \"rollcall role set --help\"\n")
	run("events", "--type", "access-changed", "--from", "6", "--to", "7").want(t, 0, ""+
		"REVISION  TIME                     SERVICE   FROM→TO        ACTOR                REASON\n"+
		"6         2026-11-22 10:06:00.000  deployer  role may read  token:admin for ann  less\n"+
		"7         2026-11-22 10:07:00.000  deployer  role removed   token:admin for ann  -\n", "")
}
