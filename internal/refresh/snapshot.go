package refresh

import (
	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// snapshotOf is MX's answer in the contract's terms. It shares m's memory. The
// OAuth URI is not part of it.
func snapshotOf(m *mx.Member) events.Member {
	s := events.Member{
		GUID:                            m.GUID,
		ID:                              m.ID,
		UserGUID:                        m.UserGUID,
		UserID:                          m.UserID,
		Name:                            m.Name,
		InstitutionCode:                 m.InstitutionCode,
		InstitutionGUID:                 m.InstitutionGUID,
		ConnectionStatus:                (*events.Status)(m.ConnectionStatus),
		ConnectionStatusMessage:         m.ConnectionStatusMessage,
		IsBeingAggregated:               m.IsBeingAggregated,
		IsManagedByUser:                 m.IsManagedByUser,
		IsManual:                        m.IsManual,
		IsOAuth:                         m.IsOAuth,
		NeedsUpdatedCredentials:         m.NeedsUpdatedCredentials,
		BackgroundAggregationIsDisabled: m.BackgroundAggregationIsDisabled,
		UseCases:                        m.UseCases,
		AggregatedAt:                    m.AggregatedAt,
		SuccessfullyAggregatedAt:        m.SuccessfullyAggregatedAt,
		Missing:                         m.Absent,
	}
	if e := m.Error; e != nil {
		s.Error = &events.Error{Code: e.Code, Type: e.Type, Message: e.Message, UserMessage: e.UserMessage, Locale: e.Locale}
	}
	return s
}
