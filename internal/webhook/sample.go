package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Sample returns the body of a webhook of some type about a member, in the form
// in which MX sends it. A type without a form known here gets the fields that all
// webhooks about members have.
func Sample(typ, userGUID, memberGUID string) ([]byte, error) {
	typ = strings.ToUpper(typ)
	all := map[string]any{"type": typ, "user_guid": userGUID, "member_guid": memberGUID}
	switch typ {
	case TypeConnectionStatus:
		all["action"] = "CHANGED"
		all["connection_status"], all["connection_status_id"] = "CHALLENGED", 3
		all["connection_status_message"] = "To authenticate your connection, please answer the following challenge(s)."
	case TypeMember: // names the member as its own read does, and times as integers
		delete(all, "member_guid")
		all["action"], all["guid"] = "updated", memberGUID
		all["connection_status"], all["connection_status_id"] = "CONNECTED", 6
		all["aggregated_at"], all["is_being_aggregated"] = 1785578400, false
	case TypeAggregation:
		all["action"], all["is_background"] = "member_data_updated", true
		all["completed_at"], all["completed_on"] = 1785578400, "2026-08-01"
		all["transactions_created_count"], all["transactions_updated_count"] = 3, 2
	}
	body, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encoding webhook: %w", err)
	}
	return body, nil
}
